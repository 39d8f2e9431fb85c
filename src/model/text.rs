//! Names and texts of users.

/// `text` as it is searched: whatever differs in case alone is the same. By way of the upper case, and each character by itself:
/// so a final sigma is a sigma, and ß is ss.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Whether it is a control character, or one that has no width or turns the direction of writing: a name with them looks like
/// another. The joiners, which some scripts and emoji need, are none of them.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What stands in an address, in all its widths.
const AT_SIGNS: [char; 3] = ['@', '\u{ff20}', '\u{fe6b}'];

/// A name as everybody may see it: the first name and the initial of the last, never an e-mail address.
pub fn public_name(name: &str) -> String {
    // A token's name comes from outside: an address is none, and neither is what shows no letter or digit.
    let visible: String = name.chars().filter(|character| !is_hidden(*character)).collect();
    let is_name = |word: &&str| !word.contains(AT_SIGNS) && word.chars().any(char::is_alphanumeric);
    let mut words = visible.split_whitespace().filter(is_name);
    let Some(first) = words.next() else { return "Anonymous".into() };
    match words.next_back().and_then(|last| last.chars().find(|character| character.is_alphanumeric())) {
        Some(initial) => format!("{first} {}.", initial.to_uppercase()),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_tells_little() {
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
