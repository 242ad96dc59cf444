//! Rust source as tokens: comments are gone, strings are empty, and what only tests compile is marked.

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// An identifier, a number, `::`, one other character, or `""` for any string or character literal.
    pub text: String,
    /// The line, counted from 1.
    pub line: usize,
    /// Whether only tests compile it.
    pub in_test: bool,
}

/// One Rust file.
pub struct Source {
    /// The path relative to the package.
    pub path: String,
    /// Every token of the file.
    pub tokens: Vec<Token>,
    /// How many lines the file has, apart from the items that only tests compile.
    pub lines: usize,
}

impl Source {
    /// Reads the file's text. Files under `tests/` and `benches/`, and `tests.rs` anywhere, are test code as a whole.
    pub fn read(path: &str, text: &str) -> Source {
        let mut tokens = Lexer { chars: text.chars().collect(), at: 0, line: 1 }.tokens();
        let whole = !path.starts_with("src/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs");
        let test_lines = if whole { text.lines().count() } else { mark_test_items(&mut tokens) };
        if whole {
            tokens.iter_mut().for_each(|token| token.in_test = true);
        }
        Source { path: path.to_owned(), tokens, lines: text.lines().count().saturating_sub(test_lines) }
    }

    /// The path below `src/`, if it is there.
    pub fn path_in_src(&self) -> Option<&str> {
        self.path.strip_prefix("src/")
    }

    /// The module that the file is, from the crate's root: `src/a/mod.rs` is `[a]`, `src/lib.rs` is `[]`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path_in_src().unwrap_or_default().trim_end_matches(".rs");
        let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            parts.pop();
        }
        parts
    }

    /// The tokens that the program is compiled from.
    pub fn program(&self) -> Vec<&Token> {
        self.tokens.iter().filter(|token| !token.in_test).collect()
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn take(&mut self) -> char {
        let taken = self.peek(0);
        self.line += usize::from(taken == '\n');
        self.at += 1;
        taken
    }

    fn tokens(mut self) -> Vec<Token> {
        let mut tokens = Vec::new();
        while self.at < self.chars.len() {
            let line = self.line;
            if let Some(text) = self.token() {
                tokens.push(Token { text, line, in_test: false });
            }
        }
        tokens
    }

    fn token(&mut self) -> Option<String> {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.skip_while(|c| c != '\n'),
            ('/', '*') => self.skip_block_comment(),
            ('"', _) => return Some(self.quoted()),
            ('\'', _) => return self.character_or_lifetime(),
            (':', ':') => {
                self.at += 2;
                return Some("::".to_owned());
            }
            (c, _) if is_word(c) => return Some(self.word_or_prefixed_string()),
            (c, _) => {
                self.take();
                return (!c.is_whitespace()).then(|| c.to_string());
            }
        }
        None
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.at < self.chars.len() && wanted(self.peek(0)) {
            self.take();
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => (depth, self.at) = (depth + 1, self.at + 2),
                ('*', '/') => (depth, self.at) = (depth - 1, self.at + 2),
                _ => _ = self.take(),
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn quoted(&mut self) -> String {
        self.take();
        while self.at < self.chars.len() {
            match self.take() {
                '\\' => _ = self.take(),
                '"' => break,
                _ => {}
            }
        }
        "\"\"".to_owned()
    }

    fn raw_quoted(&mut self, hashes: usize) -> String {
        self.at += hashes + 1;
        while self.at < self.chars.len() {
            if self.take() == '"' && (0..hashes).all(|ahead| self.peek(ahead) == '#') {
                self.at += hashes;
                break;
            }
        }
        "\"\"".to_owned()
    }

    fn character_or_lifetime(&mut self) -> Option<String> {
        if self.peek(1) == '\\' || self.peek(2) == '\'' {
            self.at += if self.peek(1) == '\\' { 3 } else { 2 };
            self.skip_while(|c| c != '\'');
            self.take();
            return Some("\"\"".to_owned());
        }
        self.take();
        self.skip_while(is_word);
        None
    }

    fn word_or_prefixed_string(&mut self) -> String {
        let start = self.at;
        self.skip_while(is_word);
        let word: String = self.chars[start..self.at].iter().collect();
        let hashes = (0..).take_while(|ahead| self.peek(*ahead) == '#').count();
        match word.as_str() {
            "r" | "br" | "cr" if self.peek(hashes) == '"' => self.raw_quoted(hashes),
            "b" | "c" if self.peek(0) == '"' => self.quoted(),
            "r" if hashes == 1 && is_word(self.peek(1)) => {
                self.at += 1;
                self.word_or_prefixed_string()
            }
            _ => word,
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Marks the items under `#[cfg(test)]` or `#[cfg(all(test, ..))]`; returns how many lines they take.
fn mark_test_items(tokens: &mut [Token]) -> usize {
    let (mut at, mut lines) = (0, 0);
    while at < tokens.len() {
        if !starts_test_item(&tokens[at..]) {
            at += 1;
            continue;
        }
        let end = item_end(tokens, at);
        lines += tokens[end].line - tokens[at].line + 1;
        tokens[at..=end].iter_mut().for_each(|token| token.in_test = true);
        at = end + 1;
    }
    lines
}

fn starts_test_item(tokens: &[Token]) -> bool {
    let texts: Vec<&str> = tokens.iter().take(7).map(|token| token.text.as_str()).collect();
    let inner =
        |from: usize| texts.get(from..from + 2).is_some_and(|pair| pair == ["test", ")"] || pair == ["test", ","]);
    let starts = |with: &[&str]| texts.starts_with(with);
    (starts(&["#", "[", "cfg", "("]) && inner(4)) || (starts(&["#", "[", "cfg", "(", "all", "("]) && inner_all(tokens))
}

fn inner_all(tokens: &[Token]) -> bool {
    let mut depth = 0;
    for pair in tokens[4..].windows(2) {
        match pair[0].text.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            "]" => return false,
            _ => {}
        }
        if depth == 1 && ["(", ","].contains(&pair[0].text.as_str()) && pair[1].text == "test" {
            return true;
        }
    }
    false
}

/// The index of the item's last token: its `;` or closing brace, past all of its attributes.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at,
            _ => {}
        }
        if token.text == "}" && depth <= 0 {
            return at;
        }
    }
    tokens.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Source::read("src/a.rs", text).program().iter().map(|token| token.text.clone()).collect()
    }

    #[test]
    fn comments_and_strings_hide_nothing_and_show_nothing() {
        let text =
            "a /* x /* y */ z */ b // c\nd(\"e\\\"f\", r#\"g\"h\"#, b\"i\", 'j', '\\'', '\\u{1}') <'life> r#type";
        assert_eq!(words(text).join(" "), "a b d ( \"\" , \"\" , \"\" , \"\" , \"\" , \"\" ) < > type");
    }

    #[test]
    fn what_only_tests_compile_is_marked() {
        let text = "fn a() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let source = Source::read("src/a.rs", text);
        assert_eq!(words(text).join(""), "fna(){}fnc(){}");
        assert_eq!(source.lines, 2);
        assert_eq!(words("#[cfg(all(unix, test))] use a::b; c").join(""), "c");
        assert!(words("#[cfg(not(test))] fn a() {}").join("").ends_with("fna(){}"));
        assert!(words("#[cfg(all(unix, not(test)))] x;").join("").ends_with("x;"));
    }

    #[test]
    fn a_file_knows_its_module_and_its_lines() {
        for (path, module) in
            [("src/lib.rs", ""), ("src/a.rs", "a"), ("src/a/mod.rs", "a"), ("src/a/b.rs", "a::b"), ("src/main.rs", "")]
        {
            assert_eq!(Source::read(path, "").module().join("::"), module, "{path}");
        }
        let lines: Vec<usize> = Source::read("src/a.rs", "a\n\"x\ny\"\nb").tokens.iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }
}
