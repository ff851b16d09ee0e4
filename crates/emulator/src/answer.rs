//! What the "model" says: the same in both dialects, before either is written.
//!
//! An answer never tells which key or project served it. A relay in between must make no
//! difference to a client, so the text may not either; who served is in the emulator's record.

pub(crate) mod embedding;
pub(crate) mod native;
pub(crate) mod openai;

use bytes::Bytes;
use serde_json::Value;

use crate::prompt::{Prompt, tokens_of};
use crate::sample;

/// The thing said, whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) model: String,
    /// Tells one answer from another, as `responseId` does.
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) text: String,
    /// An inline picture of so many bytes.
    pub(crate) image: Option<usize>,
    /// A function called instead of text.
    pub(crate) call: Option<(String, Value)>,
    pub(crate) signature: Option<String>,
    pub(crate) prompt_tokens: u64,
}

impl Answer {
    /// What there is to say to `prompt`; who says it is filled in by the caller.
    pub(crate) fn to(prompt: &Prompt, model: &str) -> Answer {
        let text = match &prompt.schema {
            Some(schema) => sample::instance(schema).to_string(),
            None if prompt.markers.echo => prompt.text.clone(),
            None => match prompt.markers.text {
                Some(bytes) => FILLER.chars().cycle().take(bytes).collect(),
                None => {
                    let said: String = prompt.text.chars().take(QUOTED).collect();
                    format!("Hello from the emulator. You said: {said}")
                }
            },
        };
        let call = prompt.markers.call.as_ref().and_then(|wanted| {
            let mut functions = prompt.functions.iter();
            let (name, parameters) =
                functions.find(|(name, _)| wanted.is_empty() || name == wanted)?;
            Some((name.clone(), sample::instance(parameters)))
        });
        Answer {
            model: model.to_owned(),
            id: String::new(),
            created: 0,
            text,
            image: prompt.markers.image,
            call,
            signature: None,
            prompt_tokens: prompt.tokens,
        }
    }

    fn answer_tokens(&self) -> u64 {
        match &self.call {
            Some((name, arguments)) => tokens_of(name) + tokens_of(&arguments.to_string()),
            None => tokens_of(&self.text) + self.image.map_or(0, |_| IMAGE_TOKENS),
        }
    }

    /// The text in as many pieces as a stream has events. They join to the text again; only when
    /// there are more events than letters do the last ones say something of their own.
    fn pieces(&self, events: usize, words_per_event: usize) -> Vec<String> {
        let words: Vec<&str> = self.text.split_inclusive(' ').collect();
        let mut pieces: Vec<String> = if words.len() > (events - 1) * words_per_event {
            let (head, tail) = words.split_at((events - 1) * words_per_event);
            let tail = std::iter::once(tail.concat());
            head.chunks(words_per_event)
                .map(<[&str]>::concat)
                .chain(tail)
                .collect()
        } else {
            let letters: Vec<char> = self.text.chars().collect();
            let cut = |index: usize| index * letters.len() / events.min(letters.len()).max(1);
            (0..events.min(letters.len()))
                .map(|index| letters[cut(index)..cut(index + 1)].iter().collect())
                .collect()
        };
        pieces.resize_with(events, || " more".to_owned());
        pieces
    }
}

/// Bytes of an answer; a picture's are made when they are sent.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// So many letters `A`: zeroes, in base64.
    Fill(usize),
}

/// How the events of a stream are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `data: {…}\r\n\r\n`, and no end mark.
    Sse,
    /// `[{…},\n{…}]`
    Array,
    /// `data: {…}\n\n`, then `data: [DONE]`.
    OpenAi,
}

/// JSON text in which [`IMAGE`] stands for a picture of `bytes` bytes.
fn with_image(json: &str, bytes: Option<usize>) -> Vec<Piece> {
    match (json.split_once(IMAGE), bytes) {
        (Some((before, after)), Some(bytes)) => vec![
            Piece::Bytes(Bytes::copy_from_slice(before.as_bytes())),
            // Three bytes are four letters: the size is rounded down to whole groups.
            Piece::Fill((bytes / 3 * 4).saturating_sub(PNG.len())),
            Piece::Bytes(Bytes::copy_from_slice(after.as_bytes())),
        ],
        _ => vec![Piece::Bytes(Bytes::copy_from_slice(json.as_bytes()))],
    }
}

/// Stands in JSON where a picture's base64 goes on; no prompt can hold it, for JSON escapes it.
const IMAGE: &str = "\u{1}image\u{1}";

/// The first bytes of a PNG file, in base64.
const PNG: &str = "iVBORw0KGgoA";

/// How much of the prompt an answer repeats.
const QUOTED: usize = 80;

/// What Google counts for a generated picture.
const IMAGE_TOKENS: u64 = 1_290;

const FILLER: &str = "The emulator goes on in words of no meaning, as long as it was told to. ";

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, events: usize) -> Vec<String> {
        let prompt = Prompt {
            text: text.to_owned(),
            ..Prompt::default()
        };
        let mut answer = Answer::to(&prompt, "m");
        answer.text = text.to_owned();
        answer.pieces(events, 2)
    }

    #[test]
    fn pieces_join_to_the_text_and_are_as_many_as_events() {
        assert_eq!(pieces("a b c d e", 2), ["a b ", "c d e"]);
        for events in 1..=13 {
            let cut = pieces("one two three", events);
            assert_eq!(
                (cut.len(), cut.concat().as_str()),
                (events, "one two three")
            );
        }
        assert_eq!(pieces("ab", 4), ["a", "b", " more", " more"]);
        assert_eq!(pieces("", 2), [" more", " more"].map(str::to_owned));
    }
}
