//! Files of a user's own: where they are kept, and that nobody else reads them. The one place where systems differ in
//! that; on Windows a folder decides who reads what is in it, and a user's own is the user's alone.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Where programs keep what is a user's and no setting; the folder at hand where there is no home.
pub(crate) fn data_folder(variables: &[(OsString, OsString)]) -> PathBuf {
    let set = |name: &str| {
        variables
            .iter()
            .find(|(n, v)| n == name && Path::new(v).is_absolute())
            .map(|(_, v)| PathBuf::from(v))
    };
    let base = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))
    };
    base.map_or_else(
        || PathBuf::from("gemini-relay"),
        |base| base.join("gemini-relay"),
    )
}

/// How a file is opened for writing; a new one is for its owner to read, or for all. One that was there keeps its
/// mode: see [`keep_to_owner`].
#[cfg_attr(not(unix), expect(unused_variables, reason = "there are no modes"))]
pub(crate) fn writing(owner_only: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if owner_only { 0o600 } else { 0o644 });
    options
}

/// Takes everybody else's right to read it.
#[cfg_attr(not(unix), expect(unused_variables, reason = "there are no modes"))]
pub(crate) fn keep_to_owner(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

/// In a container, what mounts a secret decides its mode, and nobody else is there.
#[cfg(unix)]
pub(crate) fn readable_by_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mounted = file
        .parent()
        .is_some_and(|folder| folder.join("..data").exists());
    !mounted
        && std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
pub(crate) fn readable_by_others(_: &Path) -> bool {
    false
}
