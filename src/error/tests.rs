//! Problems have the members of their codes.

use super::*;

#[test]
fn a_problem_has_the_members_of_its_code() {
    let error = Error::PurchaseLimitReached { limit: 3, purchased: 2 };
    let members = serde_json::to_value(Problem { error: &error, instance: "7" }).unwrap();
    assert_eq!(members["status"], 409);
    assert_eq!(members["code"], "purchase_limit_reached");
    assert_eq!((members["limit"].as_i64(), members["purchased"].as_i64()), (Some(3), Some(2)));
}

#[test]
fn both_merges_wrong_fields_and_puts_any_other_error_first() {
    let wrong = |field: &str| Err::<(), _>(Error::invalid(field, "is wrong"));
    let Err(Error::ValidationFailed { errors }) = Error::both(wrong("a"), wrong("b")) else { panic!() };
    assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let unreadable = || Err::<(), _>(Error::UnsupportedMediaType);
    for (first, second) in [
        (wrong("a"), unreadable()),
        (unreadable(), wrong("b")),
        (Ok(()), unreadable()),
        (unreadable(), Ok(())),
    ] {
        assert_eq!(Error::both(first, second), Err(Error::UnsupportedMediaType));
    }
    assert_eq!(Error::both(Ok(1), Ok(2)), Ok((1, 2)));
}

#[test]
fn a_client_is_told_to_wait_for_a_day_at_most() {
    let far = Timestamp::from_milliseconds(0);
    let error = Error::SaleNotStarted { sale_start_time: far, retry_after_seconds: 2_592_000 };
    assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "86400");
}

#[test]
fn names_of_codes_are_unique() {
    let names: std::collections::HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}
