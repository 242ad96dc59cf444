//! Characters: which may stay, and what others are written as (pure).

/// What a character is written as where a plainer one says the same; `None` where it goes without a trace.
///
/// Full-width forms come first: the model's tokenizer may write them plainly too, and `＜system＞` would be a frame then.
pub(super) fn fold(character: char) -> Option<char> {
    let plain = match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0).unwrap_or(' '),
        '‘' | '’' | '‚' | '‛' | '“' | '”' | '„' | '‟' | '«' | '»' | '‹' | '›' | '′' | '″' | '「' | '」' | '『'
        | '』' => '\'',
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => '-',
        '。' => '.',
        '、' => ',',
        '﹤' | '﹥' | '〈' | '〉' | '⟨' | '⟩' | '❮' | '❯' | '《' | '》' | '˂' | '˃' => '<',
        // A line end is one, whatever it is called; markup needs it.
        '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\r' => '\n',
        '\t' => ' ',
        _ if is_invisible(character) => return None,
        _ => character,
    };
    Some(plain)
}

/// The character as it stays, if it may: letters, digits, their marks, and the signs of plain sentences.
pub(super) fn keep(character: char) -> Option<char> {
    match character {
        '"' | '`' => Some('\''),
        '…' => Some('.'),
        ' ' | '.' | ',' | '!' | '?' | '\'' | '(' | ')' | '-' | '/' | ':' | ';' | '%' | '&' | '+' | '$' | '€' | '£'
        | '°' | '@' | '#' => Some(character),
        _ if is_picture(character) => None,
        _ if character.is_alphanumeric() || is_combining(character) => Some(character),
        _ => None,
    }
}

/// Pictures: people put them where a phrase ends.
pub(super) fn is_picture(character: char) -> bool {
    matches!(character,
        '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{2460}'..='\u{27bf}' | '\u{2900}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}')
}

/// Characters that nobody sees: controls, those that turn the direction of writing, fillers, tags, what is of no script.
pub(super) fn is_invisible(character: char) -> bool {
    let line = character == '\n';
    (character.is_control() && !line)
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}'
            | '\u{ffa0}' | '\u{feff}' | '\u{2800}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{ffff}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Marks that are written with the letter before them, of the scripts that need them.
pub(super) fn is_combining(character: char) -> bool {
    !character.is_alphanumeric()
        && matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}'
        | '\u{5c4}'..='\u{5c5}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}'
        | '\u{900}'..='\u{dff}' | '\u{e31}' | '\u{e34}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}' | '\u{eb1}'
        | '\u{eb4}'..='\u{ebc}' | '\u{ec8}'..='\u{ece}' | '\u{f18}'..='\u{f87}' | '\u{102b}'..='\u{103e}'
        | '\u{17b6}'..='\u{17d3}' | '\u{1dc0}'..='\u{1dff}' | '\u{3099}'..='\u{309a}' | '\u{fe20}'..='\u{fe2f}')
}
