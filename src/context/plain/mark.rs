//! Characters: which may stay, and what others are written as (pure).
//!
//! The model's tokenizer may write compatibility forms plainly (NFKC), and `＜system＞` would be a frame then, and `10⁹`
//! another number. So they are written plainly here, where that says the same.

use unicode_normalization::UnicodeNormalization as _;

/// Stands where something was written that cannot be told as it was; a sentence with it is left out. In a text of a user
/// it stands for what is not there, too.
pub const GAP: char = '\u{fffc}';

/// The text with a plainer character where one says the same, and without what nobody sees.
pub(super) fn fold(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut raised = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_ascii_graphic() || character == ' ' {
            raised = false;
            plain.push(character);
            continue;
        }
        let next = characters.peek().copied();
        let around = Around { last: plain.chars().next_back(), next, raised };
        raised = is_raised(character);
        match around.simpler(character) {
            Some(simpler) => plain.push_str(&simpler),
            None if is_invisible(character) => {}
            None => around.write_plainly(&mut plain, character),
        }
    }
    plain.nfc().collect()
}

/// What stands around a character.
struct Around {
    last: Option<char>,
    next: Option<char>,
    /// Whether the character before was a small figure.
    raised: bool,
}

impl Around {
    fn is_in_number(&self) -> bool {
        self.last.is_some_and(char::is_numeric) && self.next.is_some_and(char::is_numeric)
    }

    fn touches(&self, is: impl Fn(char) -> bool) -> bool {
        [self.last, self.next].into_iter().flatten().any(is)
    }

    /// One or two plain characters for those that mean the same, or a gap where that depends on what was meant.
    fn simpler(&self, character: char) -> Option<String> {
        let gap = GAP.to_string();
        let text = match character {
            GAP | '\u{202d}' | '\u{202e}' | '№' => return Some(gap),
            '‘' | '’' | '‚' | '‛' | '“' | '”' | '„' | '‟' | '«' | '»' | '「' | '」' | '『' | '』' | 'ʹ' | 'ʺ' | 'ʻ'
            | 'ʼ' | 'ˈ' | 'ˮ' | '˝' | '´' => "'",
            // Quotation marks, or signs of less and more.
            '‹' | '›' | '〈' | '〉' | '⟨' | '⟩' | '❮' | '❯' | '《' | '》' => {
                return Some(if self.touches(char::is_alphabetic) { "'".to_owned() } else { gap });
            }
            // Feet and minutes behind a number.
            '′' | '″' => return Some(if self.last.is_some_and(char::is_numeric) { gap } else { "'".to_owned() }),
            '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => "-",
            '≤' | '≦' | '⩽' => "<=",
            '≥' | '≧' | '⩾' => ">=",
            '＜' | '﹤' | '˂' | 'ᐸ' | 'ᚲ' => "<",
            '＞' | '﹥' | '˃' | 'ᐳ' => ">",
            'ː' | 'ˑ' | '꞉' | '∶' | 'ꓽ' => ":",
            '×' | '⨯' => " x ",
            '〜' | '∼' | '≈' | '～' => "~",
            '⁄' | '∕' => "/",
            'º' if self.last.is_some_and(char::is_numeric) => "°",
            '…' | '。' | '｡' | '•' | '·' | '∙' | '⋅' if self.is_in_number() => return Some(gap),
            '·' if self.last.is_some_and(char::is_alphabetic) && self.next.is_some_and(char::is_alphabetic) => "·",
            '…' => "... ",
            '。' | '｡' | '।' | '۔' => ". ",
            '؟' => "? ",
            '،' => ", ",
            '٪' => "%",
            '٫' if self.is_in_number() => ".",
            '！' => "! ",
            '？' => "? ",
            '，' if self.is_in_number() => ",",
            '、' | '､' | '，' => ", ",
            '•' | '·' | '∙' | '⋅' => "•",
            '™' | '®' | '©' | '¿' | '¡' | '\u{20e3}' => "",
            // A line end is one, whatever it is called; markup needs it.
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\r' => "\n",
            '\t' => " ",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Writes the plain form of a character, if it has one that is no other number.
    fn write_plainly(&self, plain: &mut String, character: char) {
        let plainly: String = std::iter::once(character).nfkc().collect();
        let behind_digit = self.last.is_some_and(char::is_numeric);
        let before_digit = self.next.is_some_and(|next| next.is_numeric() && !is_raised(next));
        let fraction = plainly.contains('⁄');
        if !plainly.starts_with(|first: char| first.is_ascii_digit())
            || character.is_ascii_digit()
            || is_digit(character)
        {
            match plainly.chars().next() {
                // A mark that stands alone.
                Some(' ') => plain.push(' '),
                _ => plain.push_str(&plainly),
            }
        } else if fraction && !before_digit {
            plain.push_str(if behind_digit { " " } else { "" });
            plain.push_str(&plainly.replace('⁄', "/"));
        } else if is_raised(character)
            && !before_digit
            && (self.raised && behind_digit || self.last.is_some_and(char::is_alphabetic))
        {
            plain.push_str(&plainly);
        } else {
            plain.push(GAP);
        }
    }
}

/// Digits that are only drawn in another way.
fn is_digit(character: char) -> bool {
    matches!(character, '\u{ff10}'..='\u{ff19}' | '\u{1d7ce}'..='\u{1d7ff}' | '\u{1fbf0}'..='\u{1fbf9}')
}

/// Small figures above or below the line.
fn is_raised(character: char) -> bool {
    matches!(character, '²' | '³' | '¹' | '\u{2070}' | '\u{2074}'..='\u{2079}' | '\u{2080}'..='\u{2089}')
}

/// What becomes of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays, or its plainer form does.
    Stays(char),
    /// A space says as much.
    Space,
    /// A picture: people put them where a phrase ends.
    Picture,
    /// It means something that cannot be told.
    Lost,
}

/// What becomes of a character: letters, digits, their marks and the signs of plain sentences stay.
pub(super) fn fate(character: char) -> Fate {
    match character {
        '"' | '`' => Fate::Stays('\''),
        '[' => Fate::Stays('('),
        ']' => Fate::Stays(')'),
        GAP | ' ' | '.' | ',' | '!' | '?' | '\'' | '(' | ')' | '-' | '/' | ':' | ';' | '%' | '&' | '+' | '$' | '€'
        | '£' | '¥' | '¢' | '₹' | '°' | '@' | '#' | '·' => Fate::Stays(character),
        '{' | '}' | '_' | '\\' | '§' | '¶' | '†' | '‡' => Fate::Space,
        _ if says_more(character) => Fate::Lost,
        _ if is_picture(character) => Fate::Picture,
        _ if character.is_alphanumeric() || is_combining(character) => Fate::Stays(character),
        _ => Fate::Lost,
    }
}

/// Pictures that are a word: no, more, less, ten, a group of blood; and lines through the letter before them.
fn says_more(character: char) -> bool {
    matches!(character,
        '\u{334}'..='\u{338}' | '\u{2190}'..='\u{21ff}' | '\u{2460}'..='\u{24ff}' | '\u{2612}' | '\u{26d4}'
        | '\u{2715}'..='\u{2718}' | '\u{274c}' | '\u{274e}' | '\u{2776}'..='\u{27bf}' | '\u{2900}'..='\u{297f}'
        | '\u{2b05}'..='\u{2b0d}' | '\u{1f100}'..='\u{1f1e5}' | '\u{1f44e}' | '\u{1f51f}' | '\u{1f645}' | '\u{1f6ab}')
}

/// Pictures.
fn is_picture(character: char) -> bool {
    matches!(character,
        '•' | '‣' | '\u{2300}'..='\u{23ff}' | '\u{2500}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
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
            | '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{fffd}'..='\u{ffff}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Marks that are written with the letter before them, of the scripts that need them.
pub(super) fn is_combining(character: char) -> bool {
    !character.is_alphanumeric()
        && matches!(character,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}'..='\u{5c2}'
        | '\u{5c4}'..='\u{5c5}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6dc}'
        | '\u{900}'..='\u{963}' | '\u{966}'..='\u{dff}' | '\u{e31}' | '\u{e34}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}'
        | '\u{eb1}' | '\u{eb4}'..='\u{ebc}' | '\u{ec8}'..='\u{ece}' | '\u{f18}'..='\u{f87}' | '\u{102b}'..='\u{103e}'
        | '\u{17b6}'..='\u{17d3}' | '\u{1dc0}'..='\u{1dff}' | '\u{3099}'..='\u{309a}' | '\u{fe20}'..='\u{fe2f}')
}
