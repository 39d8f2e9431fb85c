//! MongoDB's wire protocol, as far as it takes to tell a driver other addresses of the replica set's members.
//!
//! A driver asks each member who belongs to the set, and connects to what it is told. So that each server of ours reaches each
//! member by a way of its own, the names in that one answer are replaced on their way.

use std::collections::HashMap;

use mongodb::bson::{Bson, Document};

/// Length, request id, response to, and what kind of message it is.
const HEADER_BYTES: usize = 16;
const OP_REPLY: i32 = 1;
const OP_MSG: i32 = 2013;
/// An answer about members is small; whatever is larger is passed on as it is.
const HELLO_BYTES_MAX: usize = 8 * 1024;

/// The length of the whole message that begins here, once enough has come to know it.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<4>()?;
    usize::try_from(i32::from_le_bytes(*length)).ok()
}

/// The message with other names, if it is the answer about members.
pub fn renamed(message: &[u8], names: &HashMap<String, String>) -> Option<Vec<u8>> {
    if message.len() > HELLO_BYTES_MAX || !contains(message, b"setName") || !contains(message, b"hosts") {
        return None;
    }
    let kind = i32::from_le_bytes(message.get(12..16)?.try_into().ok()?);
    let body_at = match kind {
        // Flags, cursor, where it begins, how many.
        OP_REPLY => HEADER_BYTES + 20,
        // Flags, and the kind of the one section.
        OP_MSG => HEADER_BYTES + 5,
        _ => return None,
    };
    let mut answer = Document::from_reader(message.get(body_at..)?).ok()?;
    if !answer.contains_key("setName") {
        return None;
    }
    for field in ["primary", "me"] {
        if let Some(Bson::String(name)) = answer.get_mut(field) {
            rename(name, names);
        }
    }
    for field in ["hosts", "passives", "arbiters"] {
        for name in answer.get_array_mut(field).into_iter().flatten() {
            if let Bson::String(name) = name {
                rename(name, names);
            }
        }
    }
    let mut renamed = message[..body_at].to_vec();
    answer.to_writer(&mut renamed).ok()?;
    let length = i32::try_from(renamed.len()).ok()?;
    renamed[..4].copy_from_slice(&length.to_le_bytes());
    Some(renamed)
}

fn rename(name: &mut String, names: &HashMap<String, String>) {
    if let Some(other) = names.get(name) {
        name.clone_from(other);
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn members_get_the_names_of_this_way() {
        let names: HashMap<_, _> =
            [("a:1".to_owned(), "p:1".to_owned()), ("b:2".to_owned(), "p:22".to_owned())].into();
        let answer = |first: &str, second: &str| doc! { "setName": "rs", "hosts": [first, second], "me": first, "primary": second };
        let message = |body: &Document| {
            let mut bytes = vec![0; HEADER_BYTES + 5];
            bytes[12..16].copy_from_slice(&OP_MSG.to_le_bytes());
            body.to_writer(&mut bytes).unwrap();
            let length = i32::try_from(bytes.len()).unwrap();
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes
        };
        let sent = message(&answer("a:1", "b:2"));
        assert_eq!(length(&sent), Some(sent.len()));
        assert_eq!(renamed(&sent, &names), Some(message(&answer("p:1", "p:22"))));
        assert_eq!(renamed(&message(&doc! { "ok": 1 }), &names), None);
    }
}
