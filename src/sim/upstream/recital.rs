//! Words that show whose prompt a model was given (pure).

/// What of a text prompt is repeated, in bytes at most.
const MAX_BYTES: usize = 120;

/// Numbered sentences, each with the first one of the prompt in it.
pub struct Recital {
    first_sentence: String,
    number: u64,
    pieces: std::vec::IntoIter<String>,
}

impl Recital {
    /// The words of a model that was given this prompt, system tags included.
    pub fn new(prompt: &str) -> Self {
        let prompt = prompt.trim_start_matches("<system>").trim();
        let end = prompt.find(['.', '<']).unwrap_or(prompt.len()).min(prompt.floor_char_boundary(MAX_BYTES));
        Self { first_sentence: prompt[..end].trim().to_owned(), number: 0, pieces: Vec::new().into_iter() }
    }

    /// The next piece, one word with the space before it.
    pub fn next(&mut self) -> String {
        if let Some(piece) = self.pieces.next() {
            return piece;
        }
        self.number += 1;
        let sentence = format!("This is line {} of {}.", self.number, self.first_sentence);
        let pieces: Vec<String> = sentence.split_whitespace().map(|word| format!(" {word}")).collect();
        self.pieces = pieces.into_iter();
        self.pieces.next().unwrap_or_default()
    }
}
