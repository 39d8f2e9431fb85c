//! Rules for names and search texts.

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;

/// `text` folded for searching without case, width and Unicode form: composed or not, full or half width, it is the same
/// text (NFKC). Each character is mapped by itself to upper and then to lower case, so that a final sigma becomes a
/// sigma, and ß becomes ss.
pub fn folded(text: &str) -> String {
    text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect()
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

/// The different words of a search, in the form in which they are compared.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn search_words(
    text: &str,
    characters_max: usize,
    words_max: usize,
    form: impl FnOnce(&str) -> String,
) -> Result<Vec<String>, String> {
    if text.chars().count() > characters_max {
        return Err(format!("must have at most {characters_max} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("must have no control characters".into());
    }
    let mut words: Vec<_> = form(text).split_whitespace().map(str::to_owned).collect();
    words.sort_unstable();
    words.dedup();
    match words.len() > words_max {
        true => Err(format!("must have at most {words_max} different words")),
        false => Ok(words),
    }
}

/// The zero-width joiners: some scripts and emoji need them.
pub const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
/// The variation selectors that choose between the text and the emoji form of a symbol.
pub const EMOJI_SELECTORS: [char; 2] = ['\u{fe0e}', '\u{fe0f}'];
/// Characters that show as a blank or as a placeholder, which no property of Unicode says.
const BLANKS: [char; 6] = ['\u{2800}', '\u{fffc}', '\u{fffd}', '\u{13441}', '\u{13442}', '\u{1d159}'];

/// Whether it is a control character, shows as nothing or as a blank, changes the direction of writing, or has no
/// meaning that everybody knows (not assigned, for private use): with these, one name can look like another. Not
/// blanks between words, and not what some scripts and emoji need: `JOINERS` and `EMOJI_SELECTORS`.
pub fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    let is_hidden = match CodePointMapData::<GeneralCategory>::new().get(character) {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::PrivateUse
        | GeneralCategory::Unassigned => true,
        _ => CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character),
    };
    (is_hidden || BLANKS.contains(&character))
        && !JOINERS.contains(&character)
        && !EMOJI_SELECTORS.contains(&character)
}

/// The name of somebody whose name is not known.
pub const ANONYMOUS: &str = "Anonymous";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_not_a_pattern() {
        assert_eq!(literal_pattern("a.b*[c]$"), r"a\.b\*\[c\]\$");
        assert_eq!(literal_pattern("größe 42"), "größe 42");
    }

    #[test]
    fn a_folded_text_has_no_case_width_or_form() {
        for (one, other) in [
            ("Zürich", "zu\u{308}RICH"),
            ("Ｆｕｌｌ width", "full WIDTH"),
            ("ｶﾞ", "ガ"),
            ("Straße", "STRASSE"),
            ("ΟΔΟΣ", "οδος"),
            ("ﬁne", "FINE"),
            // Folding must not depend on how often it was done.
            ("\u{1f80}", "\u{1f08}\u{3b9}"),
        ] {
            assert_eq!(folded(one), folded(other), "{one}");
            assert_eq!(folded(&folded(one)), folded(one));
        }
    }

    #[test]
    fn what_shows_as_nothing_is_hidden() {
        for hidden in [
            '\0',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{206f}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe00}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fffc}',
            '\u{fff9}',
            '\u{e000}',
            '\u{378}',
            '\u{1d159}',
            '\u{e0001}',
            '\u{e0061}',
            '\u{e0100}',
            '\u{f0000}',
            '\u{10ffff}',
        ] {
            assert!(is_hidden(hidden), "{hidden:?}");
        }
        for shown in [
            'a', ' ', 'é', '\u{301}', 'ß', 'Ω', 'Я', 'ע', 'ع', 'क', '山', 'ㄱ', '한', '・', '😀', '’',
            '\u{200d}', '\u{fe0f}',
        ] {
            assert!(!is_hidden(shown), "{shown:?}");
        }
    }
}
