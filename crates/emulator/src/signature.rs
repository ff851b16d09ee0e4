//! Thought signatures: sealed notes of a model to itself, which only their own project can open.
//!
//! Google's are encrypted; these say in plain base64 whose they are. Whoever sends one to another
//! project gets "Corrupted thought signature.", and so sees a conversation that changed projects
//! half-way.

use crate::base64;

/// A signature of this project's.
pub(crate) fn sign(project: &str, number: u64) -> String {
    base64::encode(format!("{PREFIX}{project}:{number}").as_bytes())
}

/// Whether this project can open it.
pub(crate) fn opens(project: &str, signature: &str) -> bool {
    if BYPASS.contains(&signature) {
        return true;
    }
    let Some(bytes) = base64::decode(signature) else {
        return false;
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return false;
    };
    // SDKs that hold signatures as bytes encode the bypass like any other.
    if BYPASS.contains(&text.as_str()) {
        return true;
    }
    text.strip_prefix(PREFIX)
        .and_then(|rest| rest.rsplit_once(':'))
        .is_some_and(|(owner, _)| owner == project)
}

const PREFIX: &str = "emulator-signature:";

/// What Google lets through in place of a signature that was lost.
const BYPASS: &[&str] = &[
    "skip_thought_signature_validator",
    "context_engineering_is_the_way_to_go",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_opens_for_its_own_project_only() {
        let signature = sign("alpha", 7);
        assert!(opens("alpha", &signature));
        assert!(!opens("beta", &signature));
        assert!(!opens("alpha", "c29tZXRoaW5n"));
        assert!(opens("alpha", "skip_thought_signature_validator"));
        assert!(opens(
            "alpha",
            &base64::encode(b"skip_thought_signature_validator")
        ));
    }
}
