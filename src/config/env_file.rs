//! The file `.env` in the working directory: settings that the environment does not set. dotenvy reads it; what is added
//! finds a `$` in a password, which dotenvy takes for a variable without a word.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

const NAME: &str = ".env";
/// In these settings a `$` is far more likely to belong to a password than to name another setting.
const LITERAL: [&str; 4] = ["JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URI", "METRICS_TOKEN"];
/// Replaces `$` to find out where dotenvy expands one. Private use: Unicode gives this character no meaning.
const MARK: char = '\u{e000}';

#[derive(Default)]
pub struct EnvFile {
    /// The settings that could be read.
    pub settings: HashMap<String, String>,
    /// What is wrong with the file: its path, but never its values. If not empty, settings may be missing.
    pub problems: Vec<String>,
}

/// Reads the file, if there is one. The directories above are not searched: a server started below another project
/// would get that project's database.
pub fn read() -> EnvFile {
    // Absolute, because the reader of the message may not know the working directory.
    let path = std::path::absolute(NAME).unwrap_or_else(|_| NAME.into());
    match fs::read_to_string(&path) {
        // Editors on Windows write a byte order mark.
        Ok(text) => parse(text.strip_prefix('\u{feff}').unwrap_or(&text), &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => EnvFile::default(),
        Err(error) => EnvFile {
            problems: vec![format!("{} cannot be read: {error}", path.display())],
            ..EnvFile::default()
        },
    }
}

fn parse(text: &str, path: &Path) -> EnvFile {
    let path = path.display();
    let (lines, bad): (Vec<_>, Vec<_>) = dotenvy::from_read_iter(text.as_bytes()).partition(Result::is_ok);
    let mut settings: HashMap<_, _> = lines.into_iter().flatten().collect();
    if !bad.is_empty() {
        // The line itself is not shown: it may hold a secret.
        let problem = format!(
            "{path} has a line that is not NAME=VALUE; values with blanks, # or $ need 'single quotes'"
        );
        return EnvFile { settings, problems: vec![problem] };
    }
    // Parse the file again without any `$` that dotenvy would expand: a value that differs had one, and so had a line
    // that can no longer be read.
    let marked = text.replace('$', &MARK.to_string()).replace(&format!("\\{MARK}"), "\\$");
    let marked: HashMap<_, _> = dotenvy::from_read_iter(marked.as_bytes()).flatten().collect();
    let literal = |name: &str| marked.get(name).map(|value| value.replace(MARK, "$"));
    let mut problems = Vec::new();
    for name in LITERAL {
        if literal(name).as_ref() != settings.get(name) {
            settings.remove(name);
            problems.push(format!(
                "{name} in {path} has a $, which starts the name of a setting: put the value into 'single quotes'"
            ));
        }
    }
    EnvFile { settings, problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> EnvFile {
        parse(text, Path::new("/shop/.env"))
    }

    fn check_password(line: &str, password: &str) {
        let EnvFile { settings, problems } = read(&format!("PORT=3000\nADMIN_PASSWORD={line}\n"));
        assert_eq!((settings["ADMIN_PASSWORD"].as_str(), problems.len()), (password, 0));
    }

    #[test]
    fn quoted_values_stay_as_they_are() {
        check_password("'pa$sword # with blanks'", "pa$sword # with blanks");
        check_password("'pa$sword' # $5", "pa$sword");
        check_password("pa\\$sword", "pa$sword");
        check_password("\"pa\\$sword\"", "pa$sword");
        check_password("pa#sword", "pa#sword");
    }

    #[test]
    fn a_secret_with_a_dollar_that_would_be_expanded_is_refused() {
        for value in [
            "hunter2$sword",
            "$hunter2",
            "hunter2$",
            "\"hunter2$sword.\"",
            "hunter2${PORT}",
            "'a'hunter2$b",
            "hunter2$sword x",
        ] {
            let text = format!("PORT=3000\nexport ADMIN_PASSWORD={value}\nMONGO_URI={value}\n");
            let problems = read(&text).problems;
            let text = problems.join("\n");
            assert_eq!(problems.len(), 2, "{value}: {text}");
            assert!(
                text.contains("ADMIN_PASSWORD in /shop/.env") && text.contains("'single quotes'"),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn the_lines_after_an_unreadable_one_are_read() {
        let EnvFile { settings, problems } = read("ADMIN_PASSWORD=hunter2 and more\nPORT=no\n");
        assert_eq!((settings["PORT"].as_str(), problems.len()), ("no", 1));
    }

    #[test]
    fn other_settings_may_refer_to_each_other() {
        let text = "NAME=shop.example\nCORS_ORIGINS=https://$NAME\nOTHER=$NAME x\nADMIN_PASSWORD=hunter2\n";
        let settings = read(text).settings;
        assert_eq!(settings["CORS_ORIGINS"], "https://shop.example");
    }
}
