//! The request target of a call: `/api/chat` with the prompts, within what a server takes.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::voice::Voice;

/// The path of a call.
pub const CHAT_PATH: &str = "/api/chat";

/// The longest request target that a server takes, in bytes: 8,191 are answered with 400.
pub const MAX_TARGET_BYTES: usize = 8_190;

/// The tokens of the `<system> ... <system>` that a server puts around a prompt.
const WRAPPER_TOKENS: u32 = 5;

/// The steps of silence that a server makes after the voice and after the text: twice half a second at 12.5 a second.
const SILENCE_STEPS: u32 = 12;

/// Why there is no request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A server that gets an empty prompt reads the voice and then hangs up.
    #[error("a call needs a text prompt that is not empty")]
    EmptyPrompt,
    /// A server refuses a request target this long.
    #[error(
        "the text prompt is {over_bytes} bytes too long once encoded; a request target has at most {MAX_TARGET_BYTES}"
    )]
    TooLong {
        /// How many encoded bytes must go; see [`encoded_bytes`].
        over_bytes: usize,
    },
}

/// The path and query that begin a call. It holds the caller's prompt, so its `Debug` shows nothing of it.
///
/// The query has a voice and a text prompt and never anything else: a server hangs up when it reads `seed`.
#[derive(Clone)]
pub struct ChatTarget {
    target: SecretString,
    tokens: u32,
}

impl ChatTarget {
    /// Puts the prompts into a request target. Whitespace alone is an empty prompt.
    pub fn build(voice: Voice, text_prompt: &SecretString) -> Result<ChatTarget, TargetError> {
        let prompt = text_prompt.expose_secret();
        if prompt.trim().is_empty() {
            return Err(TargetError::EmptyPrompt);
        }
        let over_bytes = encoded_bytes(prompt).saturating_sub(prompt_budget_bytes(voice));
        if over_bytes > 0 {
            return Err(TargetError::TooLong { over_bytes });
        }
        let (before, after) = around_prompt(voice);
        let mut target = String::with_capacity(MAX_TARGET_BYTES);
        target.push_str(&before);
        target.extend(form_urlencoded::byte_serialize(prompt.as_bytes()));
        target.push_str(&after);
        Ok(ChatTarget { target: target.into(), tokens: tokens_estimate(prompt) })
    }

    /// The path and query, ASCII, for the request line and nothing else.
    pub fn expose(&self) -> &str {
        self.target.expose_secret()
    }

    /// The text tokens that the server will read, guessed rather too high; see [`tokens_estimate`].
    pub fn prompt_tokens_estimate(&self) -> u32 {
        self.tokens
    }
}

impl fmt::Debug for ChatTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTarget").field("bytes", &self.expose().len()).field("tokens", &self.tokens).finish()
    }
}

/// What stands before and after the encoded prompt.
fn around_prompt(voice: Voice) -> (String, String) {
    (format!("{CHAT_PATH}?text_prompt="), format!("&voice_prompt={}", voice.file_name()))
}

/// The most encoded bytes that a text prompt may have beside this voice: 8,146.
pub fn prompt_budget_bytes(voice: Voice) -> usize {
    let (before, after) = around_prompt(voice);
    MAX_TARGET_BYTES - before.len() - after.len()
}

/// The bytes that a text takes in a request target: 1 for an ASCII letter or digit, a space and `*-._`; else 3 for
/// each byte of its UTF-8.
pub fn encoded_bytes(text: &str) -> usize {
    let bytes_of = |byte: u8| match byte {
        b' ' | b'*' | b'-' | b'.' | b'_' => 1,
        _ if byte.is_ascii_alphanumeric() => 1,
        _ => 3,
    };
    text.bytes().map(bytes_of).sum()
}

/// The tokens that a server makes of a text prompt with the `<system>` around it, guessed rather too high.
///
/// The model's tokenizer has 32,000 pieces and was not at hand. Of English prose it makes a token of about 4
/// characters. Here a run of letters counts a token for every 3 of them, each digit and sign one, and anything that
/// is not ASCII one for each byte of its UTF-8, which is what a tokenizer falls back to. Spaces belong to the word
/// behind them; a second space or a line end counts one.
pub fn tokens_estimate(text_prompt: &str) -> u32 {
    let mut tokens = 0;
    let mut run_of_letters = 0u32;
    let mut after_space = true;
    for byte in text_prompt.bytes() {
        match byte {
            _ if byte.is_ascii_alphabetic() => {
                tokens += u32::from(run_of_letters.is_multiple_of(3));
                run_of_letters += 1;
            }
            b' ' if !after_space => run_of_letters = 0,
            _ => {
                tokens += 1;
                run_of_letters = 0;
            }
        }
        after_space = byte == b' ';
    }
    WRAPPER_TOKENS + tokens
}

/// The steps of the model until it listens: the voice, two pauses of 6 steps and the text tokens.
///
/// A step takes the model's own time and 11 ms. A voice has about 51 steps if it lasts 4 s.
pub fn prompt_steps(voice_steps: u32, tokens: u32) -> u32 {
    voice_steps.saturating_add(SILENCE_STEPS).saturating_add(tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn build(prompt: &str) -> Result<ChatTarget, TargetError> {
        ChatTarget::build(Voice::Natf0, &prompt.into())
    }

    #[test]
    fn a_target_has_both_prompts_and_nothing_else() {
        let target = build("You are a nurse. Ask: how's Zoë & co?").unwrap();
        assert_eq!(
            target.expose(),
            "/api/chat?text_prompt=You+are+a+nurse.+Ask%3A+how%27s+Zo%C3%AB+%26+co%3F&voice_prompt=NATF0.pt"
        );
    }

    #[test]
    fn an_empty_prompt_is_refused() {
        for prompt in ["", " ", "\n\t \u{a0}"] {
            assert_eq!(build(prompt).unwrap_err(), TargetError::EmptyPrompt, "{prompt:?}");
        }
    }

    #[test]
    fn the_longest_prompt_fills_the_request_line_and_one_byte_more_is_too_much() {
        assert_eq!(build(&"a".repeat(8_146)).unwrap().expose().len(), MAX_TARGET_BYTES);
        assert_eq!(build(&"a".repeat(8_147)).unwrap_err(), TargetError::TooLong { over_bytes: 1 });
        assert_eq!(build(&"ä".repeat(2_000)).unwrap_err(), TargetError::TooLong { over_bytes: 12_000 - 8_146 });
        assert!(build(&"a".repeat(8_147)).unwrap_err().to_string().contains("1 bytes too long"));
    }

    #[test]
    fn every_voice_leaves_the_same_room() {
        assert_eq!(Voice::ALL.map(prompt_budget_bytes), [8_146; 18]);
    }

    #[test]
    fn the_prompt_does_not_print() {
        let target = build("diabetes").unwrap();
        assert_eq!(format!("{target:?}"), "ChatTarget { bytes: 52, tokens: 8 }");
    }

    #[test]
    fn the_token_estimate_is_above_four_characters_a_token_and_below_two() {
        let prose = "You are a friendly health companion. You know that Maria sleeps badly since March, takes 50 mg of \
                     sertraline in the morning, and wants to walk more often. Speak calmly, and keep answers short.";
        let tokens = tokens_estimate(prose) as usize;
        assert!(tokens > prose.len() / 4 && tokens < prose.len() / 2, "{tokens} for {} characters", prose.len());
        assert_eq!(tokens_estimate("ab  c\n"), WRAPPER_TOKENS + 4);
        assert_eq!(tokens_estimate("日"), WRAPPER_TOKENS + 3);
    }

    #[test]
    fn steps_are_those_that_the_server_was_seen_to_make() {
        for (voice_steps, tokens, steps) in [(51, 9, 72), (51, 156, 219), (51, 1_206, 1_269), (250, 15, 277)] {
            assert_eq!(prompt_steps(voice_steps, tokens), steps);
        }
        assert_eq!(prompt_steps(u32::MAX, 1), u32::MAX);
    }

    proptest! {
        #[test]
        fn the_counted_bytes_are_the_bytes_of_the_encoder(text in "\\PC{0,60}|[ -~]{0,60}") {
            prop_assert_eq!(encoded_bytes(&text), form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().len());
        }

        #[test]
        fn a_server_reads_back_what_was_asked(text in "\\PC{1,60}", at in 0..18usize) {
            prop_assume!(!text.trim().is_empty());
            let target = ChatTarget::build(Voice::ALL[at], &text.clone().into()).unwrap();
            let query = target.expose().strip_prefix("/api/chat?").unwrap();
            let read: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            prop_assert_eq!(read, [
                ("text_prompt".to_owned(), text),
                ("voice_prompt".to_owned(), Voice::ALL[at].file_name().to_owned()),
            ]);
        }
    }
}
