//! Names of people: which ones an account may have, and what the public sees of them.
//!
//! A leaderboard is a public wall. So a name must not look like somebody else's or like the shop's, and must not carry a
//! message. Tokens of other identity providers bring names that nobody here has checked: the public sees those that
//! break the rules as `ANONYMOUS`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::iter;

use icu_properties::props::{EmojiModifier, ExtendedPictographic, GeneralCategory, JoiningType};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;
use unicode_security::MixedScript;

use super::text::{ANONYMOUS, EMOJI_SELECTORS, JOINERS, is_hidden};
use super::user::NAME_CHARACTERS;

/// Words that stand for the shop. Not here are those that are surnames as well, like Root, Staff and Mod.
const RESERVED: [&str; 13] = [
    "admin",
    "admins",
    "administrator",
    "administrators",
    "moderator",
    "moderators",
    "official",
    "support",
    "customer support",
    "customer service",
    "helpdesk",
    "sysadmin",
    "webmaster",
];
/// Marks without a width of their own on one letter (UTS 39, 5.4). Hebrew and Vietnamese need up to four.
const MARKS_IN_A_ROW_MAX: usize = 4;
/// The fewest digits of a telephone number that can be called from elsewhere.
const TELEPHONE_DIGITS_MIN: usize = 7;
/// The combining class of the sign that joins two consonants of an Indic script.
const VIRAMA: u8 = 9;

/// The rules for names, with the shop's own words.
#[derive(Debug, Clone)]
pub struct NameRules {
    /// The shop's own words, as they are set.
    pub shops_own: Vec<String>,
    /// Folded.
    reserved: BTreeSet<String>,
    reserved_bytes_max: usize,
}

impl NameRules {
    /// `shops_own`: further words that nobody may have in a name, like the shop's.
    pub fn new(shops_own: Vec<String>) -> Self {
        let words = RESERVED.into_iter().chain(shops_own.iter().map(String::as_str));
        let together = |words: &str| {
            let mut together = String::new();
            words.split_whitespace().for_each(|word| fold(word, &mut together));
            together
        };
        let reserved: BTreeSet<_> = words.map(together).filter(|word| !word.is_empty()).collect();
        let reserved_bytes_max = reserved.iter().map(String::len).max().unwrap_or_default();
        Self { shops_own, reserved, reserved_bytes_max }
    }

    /// The name as it is stored: NFC, trimmed, with single blanks between its words.
    ///
    /// # Errors
    /// What it must be, in words.
    pub fn check(&self, name: &str) -> Result<String, String> {
        let name = match name.is_ascii() {
            true => Cow::Borrowed(name.trim()),
            false => Cow::Owned(name.trim().nfc().collect()),
        };
        // Before blanks become one: a line break is a blank, too.
        if name.chars().any(is_hidden) {
            return Err("must have no control, invisible or blank characters".into());
        }
        let words: Vec<_> = name.split_whitespace().collect();
        let name = words.join(" ");
        if !NAME_CHARACTERS.contains(&name.chars().count()) {
            let (min, max) = (NAME_CHARACTERS.start(), NAME_CHARACTERS.end());
            return Err(format!("must have {min} to {max} characters"));
        }
        if !name.is_ascii() {
            check_writing(&words)?;
        }
        if !name.chars().any(char::is_alphabetic) {
            return Err("must have a letter".into());
        }
        // Other forms of letters, digits, dots and at signs count like the usual ones.
        let usual = match name.is_ascii() {
            true => Cow::Borrowed(name.as_str()),
            false => Cow::Owned(name.nfkc().collect()),
        };
        let words: Vec<_> = usual.split_whitespace().collect();
        if usual.contains('@') || usual.contains("://") || words.iter().any(|word| is_host(word)) {
            return Err(
                "must have no address of a page or a mailbox; a dot inside a word makes it look like one"
                    .into(),
            );
        }
        if has_telephone_number(&words) {
            return Err("must have no telephone number".into());
        }
        if self.has_reserved(&words) {
            return Err("must have no word that stands for the shop, like `admin`".into());
        }
        Ok(name)
    }

    /// What the public sees of a name: the first name and an initial; of a single word only its initial. `ANONYMOUS` if
    /// the name breaks the rules, or is just that: the tokens of those who hide their names say so.
    pub fn public(&self, name: &str) -> String {
        if name == ANONYMOUS {
            return ANONYMOUS.into();
        }
        let Ok(name) = self.check(name) else { return ANONYMOUS.into() };
        let letter = |word: &str| word.chars().find(|character| character.is_alphanumeric());
        let mut words = name.split(' ').filter_map(|word| Some((word, letter(word)?)));
        match (words.next(), words.next_back()) {
            (Some((first, _)), Some((_, initial))) => format!("{first} {}.", initial.to_uppercase()),
            (Some((_, initial)), None) => format!("{}.", initial.to_uppercase()),
            (None, _) => ANONYMOUS.into(),
        }
    }

    /// Whether some of the words, read together, are reserved: so that `A d m i n` is, too.
    fn has_reserved(&self, words: &[&str]) -> bool {
        let mut folded = String::new();
        let ends: Vec<_> = words
            .iter()
            .map(|word| {
                fold(word, &mut folded);
                folded.len()
            })
            .collect();
        let starts = iter::once(0).chain(ends.iter().copied());
        starts.enumerate().any(|(first, start)| {
            let candidates = ends[first..].iter().map(|end| &folded[start..*end]);
            candidates
                .take_while(|word| word.len() <= self.reserved_bytes_max)
                .any(|word| self.reserved.contains(word))
        })
    }
}

/// Appends the letters and digits of a word such that what looks alike is alike (UTS 39, 4), with the digits that are read
/// as letters.
fn fold(word: &str, folded: &mut String) {
    let alike = match word.is_ascii() {
        // What the skeleton of ASCII has besides is done below.
        true => Cow::Borrowed(word),
        false => {
            Cow::Owned(unicode_security::skeleton(&word.nfkc().collect::<String>().to_lowercase()).collect())
        }
    };
    let start = folded.len();
    for character in alike.chars().flat_map(char::to_lowercase) {
        match character {
            '1' | 'l' | '|' | '!' => folded.push('i'),
            '0' => folded.push('o'),
            '3' => folded.push('e'),
            '4' => folded.push('a'),
            '5' | '$' => folded.push('s'),
            '7' => folded.push('t'),
            'n' if folded[start..].ends_with('r') => {
                folded.pop();
                folded.push('m');
            }
            other if other.is_alphanumeric() => folded.push(other),
            _ => {}
        }
    }
}

/// The rules for other characters than ASCII.
fn check_writing(words: &[&str]) -> Result<(), String> {
    let category = CodePointMapData::<GeneralCategory>::new();
    let is_mark = |character: char| {
        matches!(category.get(character), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
    };
    for word in words {
        let characters: Vec<_> = word.chars().collect();
        let is_needed = |index: usize| {
            let (before, after) =
                (index.checked_sub(1).map(|before| characters[before]), characters.get(index + 1));
            match characters[index] {
                joiner if JOINERS.contains(&joiner) => before.zip(after.copied()).is_some_and(joins),
                selector if EMOJI_SELECTORS.contains(&selector) => before.is_some_and(is_emoji),
                _ => true,
            }
        };
        if !(0..characters.len()).all(is_needed) {
            return Err("must have no control, invisible or blank characters".into());
        }
        let has_many_marks = characters
            .split(|character| !is_mark(*character))
            .any(|marks| marks.len() > MARKS_IN_A_ROW_MAX || marks.windows(2).any(|pair| pair[0] == pair[1]));
        if has_many_marks || is_mark(characters[0]) {
            return Err(format!(
                "must have at most {MARKS_IN_A_ROW_MAX} different accents on a letter, and none without a letter"
            ));
        }
        if !word.is_single_script() {
            return Err("must have letters of one alphabet in each word".into());
        }
    }
    Ok(())
}

/// Whether a joiner between these changes how they look.
fn joins((before, after): (char, char)) -> bool {
    let joining = CodePointMapData::<JoiningType>::new();
    let is_cursive = matches!(joining.get(before), JoiningType::DualJoining | JoiningType::LeftJoining)
        && matches!(joining.get(after), JoiningType::DualJoining | JoiningType::RightJoining);
    let are_emoji = (is_emoji(before)
        || EMOJI_SELECTORS.contains(&before)
        || CodePointSetData::new::<EmojiModifier>().contains(before))
        && is_emoji(after);
    canonical_combining_class(before) == VIRAMA || is_cursive || are_emoji
}

fn is_emoji(character: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(character)
}

/// Whether a word looks like a host: `evil.example`, `www.evil.example/buy`. Initials do not: `J.R.R.`, `J.R.R.Tolkien`.
fn is_host(word: &str) -> bool {
    let mut labels: Vec<_> = word.split('.').collect();
    let last = loop {
        match labels.pop() {
            Some("") => {}
            Some(last) => break last,
            None => return false,
        }
    };
    let top: String = last.chars().take_while(|character| character.is_alphanumeric()).collect();
    let is_initial = |label: &&str| {
        let mut characters = label.chars();
        characters.next().is_some_and(char::is_uppercase) && characters.next().is_none()
    };
    let are_initials = labels.iter().all(is_initial) && top.starts_with(char::is_uppercase);
    labels.iter().any(|label| label.ends_with(char::is_alphanumeric))
        && top.chars().count() > 1
        && top.chars().any(char::is_alphabetic)
        && !are_initials
}

/// Whether the words have a telephone number. No number are the digits that make a name unique, like those of
/// `Buyer 1731680000000`: they come last, where the public sees none but the first of them.
fn has_telephone_number(words: &[&str]) -> bool {
    let digits = |word: &str| word.chars().filter(|character| character.is_numeric()).count();
    let is_letterless = |word: &&str| !word.chars().any(char::is_alphabetic);
    let Some((last, others)) = words.split_last() else { return false };
    if words.iter().map(|word| digits(word)).sum::<usize>() < TELEPHONE_DIGITS_MIN {
        return false;
    }
    let numbers = words.split(|word| !is_letterless(word));
    let mut numbers = numbers
        .filter(|number| number.iter().map(|word| digits(word)).sum::<usize>() >= TELEPHONE_DIGITS_MIN);
    let first_group: String = last.chars().take_while(char::is_ascii_digit).collect();
    let is_suffix = first_group.len() >= TELEPHONE_DIGITS_MIN && !first_group.starts_with('0');
    let is_shown = others.first().is_some_and(|first| digits(first) >= TELEPHONE_DIGITS_MIN);
    is_shown || numbers.any(|number| !(number.len() == 1 && number[0] == *last && is_suffix))
}

#[cfg(test)]
mod tests;
