//! Which versions of MongoDB have a known hole for those who have no password, so that whoever reaches the port can use
//! it: memory is read through zlib compression (CVE-2025-14847), or one message ends `mongod` (CVE-2026-9740).

use std::fmt::Write as _;

/// The first version without such a hole, of each series that has one, in ascending order. Later series have none that
/// is known. As of July 2026; the README and docker-compose.yml follow.
pub const LEAST_PATCHED: [[u32; 3]; 5] = [[6, 0, 27], [7, 0, 35], [8, 0, 24], [8, 2, 10], [8, 3, 3]];

/// One sentence about the known hole in this version of MongoDB, and what to do; `None` if there is none, or if `version`
/// is not like `7.0.35` or `7.0.35-20` (Percona).
pub fn hole(version: &str) -> Option<String> {
    let mut numbers = version.split(['.', '-', '+']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    // The entry of this series; for a series without one, which gets no patches, that of the next.
    let [least_major, least_minor, least_patch] =
        LEAST_PATCHED.into_iter().find(|[major_, minor_, _]| [*major_, *minor_] >= [major, minor])?;
    if [major, minor, patch] >= [least_major, least_minor, least_patch] {
        return None;
    }
    let mut told = format!(
        "MongoDB {version} has known holes that take no password to use: update it to \
         {least_major}.{least_minor}.{least_patch} or later"
    );
    if [major, minor] != [least_major, least_minor] {
        write!(told, " (there is no patch for {major}.{minor})").unwrap_or_default();
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, update_to: Option<&str>) {
        let told = hole(version);
        let wanted = update_to.map(|least| format!("update it to {least} or later"));
        assert_eq!(told.is_some(), wanted.is_some(), "{version}: {told:?}");
        assert!(told.unwrap_or_default().contains(&wanted.unwrap_or_default()), "{version}");
    }

    #[test]
    fn a_version_is_compared_with_the_patches_of_its_series() {
        for (version, update_to) in [
            ("6.0.5", Some("6.0.27")),
            ("6.0.26", Some("6.0.27")),
            ("6.0.27", None),
            ("6.0.100", None),
            ("6.3.2", Some("7.0.35")),
            ("7.0.9", Some("7.0.35")),
            ("7.0.34-19", Some("7.0.35")),
            ("7.0.35-20", None),
            ("8.0.17", Some("8.0.24")),
            ("8.1.3", Some("8.2.10")),
            ("8.2.9", Some("8.2.10")),
            ("8.2.10", None),
            ("8.3.3", None),
            ("8.4.0", None),
            ("10.0.0", None),
            ("unknown", None),
            ("8.0", None),
            ("", None),
        ] {
            check(version, update_to);
        }
    }

    #[test]
    fn the_readme_names_the_least_patched_versions() {
        const README: &str = include_str!("../../README.md");
        let named = LEAST_PATCHED.map(|[major, minor, patch]| format!("{major}.{minor}.{patch}"));
        let (last, others) = named.split_last().unwrap();
        let list = format!("{} and {last}", others.join(", "));
        assert!(README.replace('\n', " ").contains(&list), "{list}");
    }
}
