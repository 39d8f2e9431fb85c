//! Rules for names and search texts.

/// `text` folded for searching without case. It maps each character by itself to upper and then to lower case, so
/// that a final sigma becomes a sigma, and ß becomes ss.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// A regular expression that matches `text` literally: a client must not be able to send a pattern.
pub fn literal_pattern(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let special = character.is_ascii_punctuation();
            special.then_some('\\').into_iter().chain([character])
        })
        .collect()
}

/// Whether it is a control character, has no width or changes the direction of writing: with these, one name can look
/// like another. The joiners are not included, because some scripts and emoji need them.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The at sign of e-mail addresses, in all its widths.
const AT_SIGNS: [char; 3] = ['@', '\u{ff20}', '\u{fe6b}'];

/// The name of somebody whose name is not known.
pub const ANONYMOUS: &str = "Anonymous";

/// The public form of a name: the first name and the initial of the last, never an e-mail address.
pub fn public_name(name: &str) -> String {
    // A token's name comes from outside: skip addresses, and words without a letter or digit.
    let visible: String = name.chars().filter(|character| !is_hidden(*character)).collect();
    let is_name = |word: &&str| !word.contains(AT_SIGNS) && word.chars().any(char::is_alphanumeric);
    let mut words = visible.split_whitespace().filter(is_name);
    let Some(first) = words.next() else { return ANONYMOUS.into() };
    match words.next_back().and_then(|last| last.chars().find(|character| character.is_alphanumeric())) {
        Some(initial) => format!("{first} {}.", initial.to_uppercase()),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_not_a_pattern() {
        assert_eq!(literal_pattern("a.b*[c]$"), r"a\.b\*\[c\]\$");
        assert_eq!(literal_pattern("größe 42"), "größe 42");
    }

    #[test]
    fn a_public_name_shows_little() {
        for (name, expected) in [
            ("Ada Lovelace", "Ada L."),
            ("Ada", "Ada"),
            ("Johann Sebastian bach", "Johann B."),
            ("  Éa   ørsted ", "Éa Ø."),
            ("ada@shop.example", "Anonymous"),
            ("Ada ada@shop.example", "Ada"),
            ("", "Anonymous"),
            ("\u{200b} \u{202e}", "Anonymous"),
            ("\u{202e}Eve\u{0} \u{200b}right", "Eve R."),
            ("Ada (admin)", "Ada A."),
            ("ada\u{ff20}shop.example Lovelace", "Lovelace"),
        ] {
            assert_eq!(public_name(name), expected);
        }
    }
}
