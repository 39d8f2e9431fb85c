//! What is wrong with a connection string, without showing its user and password: the driver's own message may quote a
//! part of the password.

use mongodb::options::{ConnectionString, HostInfo};

use super::DATABASE_NAME_DEFAULT;

/// The longest name of a database, in bytes (MongoDB's limits and thresholds).
const NAME_BYTES_MAX: usize = 63;

/// Checks `uri`. The driver's own message is not used: it may quote a part of the password.
///
/// # Errors
/// One sentence that says what is wrong.
pub fn check(uri: &str) -> Result<(), String> {
    let is_valid = |uri: &str| ConnectionString::parse(uri).is_ok();
    if let Ok(parsed) = ConnectionString::parse(uri) {
        return check_name(parsed.default_database.as_deref().unwrap_or_default());
    }
    let (base, options) = uri.split_once('?').unwrap_or((uri, ""));
    let names = || options.split('&').map(|option| option.split('=').next().unwrap_or(option));
    // If not, the question mark belongs to the password, and the text after it too.
    let has_options = names().all(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if has_options && is_valid(base) {
        let with_slash = if base.splitn(4, '/').count() == 4 { base.to_owned() } else { format!("{base}/") };
        let is_wrong = |option: &&str| !is_valid(&format!("{with_slash}?{option}"));
        let names: Vec<_> = options
            .split('&')
            .filter(is_wrong)
            .map(|option| option.split('=').next().unwrap_or(option))
            .collect();
        return Err(match names.as_slice() {
            [] => "MONGO_URI has options that do not go together".into(),
            names => {
                format!("MONGO_URI has options that are unknown or have no valid value: {}", names.join(", "))
            }
        });
    }
    let without_path = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    if has_options && is_valid(&without_path) {
        return Err("MONGO_URI has a path that is not the name of a database".into());
    }
    Err("MONGO_URI is not a connection string like mongodb://user:password@host:27017/flashsale?replicaSet=rs0; in the \
         user and the password, each of : / ? # [ ] @ and % has to be percent-encoded (@ is %40)"
        .into())
}

/// Tells why the database cannot have this name.
fn check_name(name: &str) -> Result<(), String> {
    if ["admin", "config", "local"].contains(&name) {
        return Err(format!(
            "MONGO_URI has the database `{name}` as its path, which is MongoDB's own: write the name of yours, like \
             /flashsale, and authSource={name} if the user was created there"
        ));
    }
    match name.len() > NAME_BYTES_MAX {
        true => Err(format!(
            "MONGO_URI names a database of more than {NAME_BYTES_MAX} bytes, which MongoDB does not take"
        )),
        false => Ok(()),
    }
}

/// The database's name and hosts, for the log; `uri` has passed [`check`].
pub fn place(uri: &str) -> String {
    let uri = ConnectionString::parse(uri).unwrap_or_default();
    let hosts = match uri.host_info {
        HostInfo::HostIdentifiers(hosts) => {
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        HostInfo::DnsRecord(host) => host,
        _ => String::new(),
    };
    let name = uri.default_database.unwrap_or_else(|| DATABASE_NAME_DEFAULT.into());
    format!("{name} at {hosts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(uri: &str, part: &str) {
        let problem = check(uri).unwrap_err();
        assert!(problem.contains(part), "{uri}: {problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }

    #[test]
    fn a_problem_is_named_without_the_password() {
        for good in [
            "mongodb://localhost",
            "mongodb://app:hunter2@a.example:27017,b.example/shop?replicaSet=rs0&tls=true",
            "mongodb+srv://app:hunter2@cluster.example/shop",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        says("mongodb://app:hunter2@a.example/shop?directConnection=maybe&tls=true", ": directConnection");
        says("mongodb://app:hunter2@a.example/a%20name", "name of a database");
        says("mongodb://app:hun/hunter2@a.example/shop", "percent-encoded");
        says("mongodb://app:4711?hunter2@a.example/shop", "percent-encoded");
        says("mongodb://app:4711?hunter2@a.example/shop?tls=true&w=1", "percent-encoded");
        says("localhost:27017", "connection string");
        says("mongodb://app:hunter2@a.example/admin", "authSource=admin");
        says(&format!("mongodb://app:hunter2@a.example/{}", "x".repeat(64)), "63 bytes");
    }

    #[test]
    fn a_place_has_no_user_and_password() {
        let uri = "mongodb://app:hunter2@a.example:27018,b.example/shop?replicaSet=rs0";
        assert_eq!(place(uri), "shop at a.example:27018, b.example:27017");
        assert_eq!(place("mongodb+srv://app:hunter2@cluster.example"), "flashsale at cluster.example");
    }
}
