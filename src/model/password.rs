//! Which passwords an account may have.
//!
//! A password is refused only if it is clearly guessable. Guessing goes through the server: a hash takes 20 ms of a core,
//! and wrong passwords are limited, by default to ten a minute for an account from one address, 14,400 a day. So what
//! fewer guesses find than that is refused; a larger minimum would refuse passwords that many people and programs use
//! with good reason.

use unicode_normalization::UnicodeNormalization;
use zxcvbn::feedback::Warning;
use zxcvbn::{Entropy, zxcvbn};

use super::user::PASSWORD_CHARACTERS;

/// The fewest guesses that zxcvbn estimates for a password that is taken. A day's wrong passwords from one address,
/// and above the 15,000 that zxcvbn estimates for any two common pieces, like `123456789` and `012`.
const GUESSES_MIN: u64 = 16_000;
/// The characters of a password that are judged, at its start and at its end, because the time grows faster than the
/// length.
const JUDGED_CHARACTERS_MAX: usize = 24;
/// Signs that zxcvbn reads as one letter. It tries each combination of those that a password has.
const READ_AS_ONE: [&str; 7] = ["4@", "({[<", "69", "1!|", "1|7", "$5", "+7"];
/// Such combinations of a password that is judged. With this many it takes as long as a hash, with all signs half a
/// second; a password that writes its letters in so many ways is no common one.
const COMBINATIONS_MAX: usize = 64;
/// A password with its owner's words needs more letters and digits than this besides them: more than a year.
const BESIDES_OWN_WORDS_MIN: usize = 5;
/// Shorter words are not looked for: they are in many passwords by chance.
const OWN_WORD_CHARACTERS_MIN: usize = 3;

/// The form that is hashed, so that it does not matter how a keyboard composes its letters (NIST SP 800-63B, 3.1.1.2).
pub fn normalized(password: &str) -> String {
    password.nfkc().collect()
}

/// Whether a password has the right length, both as it was sent and as it is hashed.
///
/// # Errors
/// What it must be, in words.
pub fn check_length(password: &str) -> Result<(), String> {
    let is_right = |characters| PASSWORD_CHARACTERS.contains(&characters);
    if is_right(password.chars().count()) && is_right(normalized(password).chars().count()) {
        return Ok(());
    }
    Err(format!("must have {} to {} characters", PASSWORD_CHARACTERS.start(), PASSWORD_CHARACTERS.end()))
}

/// Whether a new password is hard to guess for those who know `own`: the name and the address of its owner, and the
/// name of the shop. Takes up to some tens of milliseconds.
///
/// # Errors
/// Why not and what to do, in words.
pub fn check_strength(password: &str, own: &[&str]) -> Result<(), &'static str> {
    let password = normalized(password);
    let words = own_words(own);
    if is_made_of(&password.to_lowercase(), &words) {
        return Err(
            "is too easy to guess: little is left of it without your name, your address and the shop's name. Add \
                    words that have nothing to do with them",
        );
    }
    let known: Vec<_> = own.iter().copied().chain(words.iter().map(String::as_str)).collect();
    let characters: Vec<_> = password.chars().collect();
    let judged = characters.len().min(JUDGED_CHARACTERS_MAX);
    let (start, end) = (&characters[..judged], &characters[characters.len() - judged..]);
    let weakness = |part: &[char]| guess(part, &known).filter(|estimate| estimate.guesses() < GUESSES_MIN);
    let Some(estimate) = weakness(start) else { return Ok(()) };
    if end != start && weakness(end).is_none() {
        return Ok(());
    }
    Err(match estimate.feedback().and_then(|feedback| feedback.warning()) {
        Some(
            Warning::RepeatsLikeAaaAreEasyToGuess
            | Warning::RepeatsLikeAbcAbcAreOnlySlightlyHarderToGuess
            | Warning::SequencesLikeAbcAreEasyToGuess
            | Warning::StraightRowsOfKeysAreEasyToGuess
            | Warning::ShortKeyboardPatternsAreEasyToGuess,
        ) => {
            "is too easy to guess: it repeats something or counts up or follows the keyboard. Take several words that do \
              not belong together"
        }
        _ => {
            "is too easy to guess: it is one of the most used passwords, or nearly. Take several words that do not belong \
              together"
        }
    })
}

/// How hard it is to guess; `None` if that takes too long to say.
fn guess(part: &[char], known: &[&str]) -> Option<Entropy> {
    let variants = |signs: &&str| signs.chars().filter(|sign| part.contains(sign)).count().max(1);
    let combinations: usize = READ_AS_ONE.iter().map(variants).product();
    (combinations <= COMBINATIONS_MAX).then(|| zxcvbn(&part.iter().collect::<String>(), known))
}

/// The words of these texts in lower case, the longest first.
fn own_words(own: &[&str]) -> Vec<String> {
    let texts = own.iter().map(|text| normalized(text).to_lowercase());
    let mut words: Vec<_> = texts
        .flat_map(|text| {
            let words = text.split(|character: char| !character.is_alphanumeric()).map(str::to_owned);
            words.collect::<Vec<_>>()
        })
        .filter(|word| word.chars().count() >= OWN_WORD_CHARACTERS_MIN)
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.dedup();
    words
}

/// Whether little of the password is left without these words.
fn is_made_of(password: &str, words: &[String]) -> bool {
    // A blank in place of each word: no other word begins before it and ends behind it.
    let rest = words.iter().fold(password.to_owned(), |rest, word| rest.replace(word.as_str(), " "));
    rest != password
        && rest.chars().filter(|character| character.is_alphanumeric()).count() < BESIDES_OWN_WORDS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 3] = ["Ada Lovelace", "ada.l+sale@engine.example", "Sneaker House"];

    #[test]
    fn guessable_passwords_are_refused_in_words() {
        for (part, passwords) in [
            (
                "repeats something",
                &[
                    "aaaaaaaaaaaa",
                    "AAAAAAAAAAAA",
                    "123456789012",
                    "abcdefghijkl",
                    "abcabcabcabc",
                    "121212121212",
                    "111111111111",
                    "éééééééééééé",
                    "            ",
                    "😀😀😀😀😀😀😀😀😀😀😀😀",
                    "aaaaaaaaaaab",
                ][..],
            ),
            (
                "most used",
                &[
                    "password1234",
                    "PASSWORD1234",
                    "Passw0rd1234",
                    "administrator",
                    "1q2w3e4r5t6y",
                    "qwertyuiop12",
                    "iloveyou1234",
                ],
            ),
            (
                "your name",
                &[
                    "ada.l+sale@engine.example",
                    "ADA.L+SALE@ENGINE.EXAMPLE",
                    "adalovelace1",
                    "AdaLovelace2024",
                    "lovelaceada!",
                    "Lovelace-1815",
                    "engine.example",
                    "Sneaker House",
                    "sneakerhouse24",
                    "ａｄａlovelace1",
                ],
            ),
            ("guess", &["passwordpassword", "letmeinletmein", "l0velace1234"]),
        ] {
            for password in passwords {
                let refusal = check_strength(password, &OWN);
                assert!(refusal.is_err_and(|message| message.contains(part)), "{password}: {refusal:?}");
            }
        }
    }

    #[test]
    fn long_passwords_are_judged_by_both_ends() {
        for guessable in ["a".repeat(128), "é".repeat(128), "password".repeat(16)] {
            assert!(check_strength(&guessable, &OWN).is_err(), "{guessable}");
        }
        let mixed = format!("{}correct horse battery", "a".repeat(100));
        assert_eq!(check_strength(&mixed, &OWN), Ok(()));
    }

    #[test]
    fn no_password_takes_long_to_judge() {
        let (many, few): (Vec<_>, Vec<_>) =
            ("4@8({[<369!1|0$5+7%2".chars().collect(), "1234567890!@#$%^&*()".chars().collect());
        assert!(guess(&many, &OWN).is_none() && guess(&few, &OWN).is_some());
    }

    #[test]
    fn ordinary_passwords_are_taken() {
        for password in [
            "correct horse battery",
            "correct horse battery staple",
            "Passw0rd!Passw0rd",
            "hunter2hunter2",
            "secret-password-1",
            "supersecret123",
            "Password123!",
            "Str0ngP@ssw0rd!",
            "a rear admiral's password",
            "at least 12 characters",
            "TestPassword123!",
            "kZ3v9Qm1xY7p",
            "Ada likes turtles",
            "пароль от сейфа",
            "正しい馬電池ホチキス留め金具",
        ] {
            assert_eq!(check_strength(password, &OWN), Ok(()), "{password}");
        }
    }

    #[test]
    fn the_length_counts_as_sent_and_as_hashed() {
        let is_right = |password: &str| check_length(password).is_ok();
        let characters = |character: &str, count: usize| character.repeat(count);
        assert!(is_right(&characters("é", 12)) && is_right(&characters("é", 128)));
        assert!(!is_right(&characters("é", 11)) && !is_right(&characters("é", 129)));
        assert!(!is_right(&characters("e\u{301}", 11)), "22 characters, of which 11 are left");
        assert!(
            !is_right(&characters("\u{fdfa}", 8)) && !is_right(&characters("\u{fdfa}", 12)),
            "each becomes 18"
        );
    }
}
