//! The file `.env` of the working directory: the settings that the environment lacks.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

/// The name of the file.
const NAME: &str = ".env";
/// Settings in which a `$` is far more likely a character of a password than the name of another setting.
const LITERAL: [&str; 3] = ["JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URI"];
/// Stands in for a `$` to find out which ones are expanded: a character that Unicode gives no meaning.
const MARK: char = '\u{e000}';

/// The settings in the file; none when there is no file. Those of directories above are not looked for: who starts the server
/// somewhere below another project would get its database.
///
/// # Errors
/// What is wrong with the file, with its path and without its values.
pub fn read() -> Result<HashMap<String, String>, Vec<String>> {
    // Where it was looked for is no longer plain when somebody reads the message.
    let path = std::path::absolute(NAME).unwrap_or_else(|_| NAME.into());
    match fs::read_to_string(&path) {
        Ok(text) => settings(&text, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashMap::new()),
        Err(error) => Err(vec![format!("{} cannot be read: {error}", path.display())]),
    }
}

fn settings(text: &str, path: &Path) -> Result<HashMap<String, String>, Vec<String>> {
    let path = path.display();
    // The line itself is not shown: it may hold a secret.
    let settings =
        dotenvy::from_read_iter(text.as_bytes()).collect::<Result<HashMap<_, _>, _>>().map_err(|_| {
            vec![format!(
                "{path} has a line that is no NAME=VALUE; values with blanks, # or $ need 'single quotes'"
            )]
        })?;
    // The same file without any `$` that dotenvy would expand. A line that cannot be read without it has one.
    let marked = text.replace('$', &MARK.to_string()).replace(&format!("\\{MARK}"), "\\$");
    let marked: HashMap<_, _> = dotenvy::from_read_iter(marked.as_bytes()).flatten().collect();
    let literal = |name: &str| marked.get(name).map(|value| value.replace(MARK, "$"));
    let expanded = LITERAL.into_iter().filter(|name| literal(name).as_ref() != settings.get(*name));
    let problems: Vec<_> = expanded
        .map(|name| {
            format!("{name} in {path} has a $, which stands for another setting there: put the value into 'single quotes'")
        })
        .collect();
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HashMap<String, String>, Vec<String>> {
        settings(text, Path::new("/shop/.env"))
    }

    fn check_password(line: &str, password: &str) {
        let settings = read(&format!("PORT=3000\nADMIN_PASSWORD={line}\n")).unwrap();
        assert_eq!(settings["ADMIN_PASSWORD"], password);
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
    fn a_secret_that_would_lose_its_middle_is_refused() {
        for value in [
            "hunter2$sword",
            "$hunter2",
            "hunter2$",
            "\"hunter2$sword.\"",
            "hunter2${PORT}",
            "'a'hunter2$b",
            "hunter2$sword x",
        ] {
            let problems =
                read(&format!("PORT=3000\nexport ADMIN_PASSWORD={value}\nMONGO_URI={value}\n")).unwrap_err();
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
    fn other_settings_may_stand_for_each_other() {
        let text = "NAME=shop.example\nCORS_ORIGINS=https://$NAME\nOTHER=$NAME x\nADMIN_PASSWORD=hunter2\n";
        let settings = read(text).unwrap();
        assert_eq!(settings["CORS_ORIGINS"], "https://shop.example");
    }
}
