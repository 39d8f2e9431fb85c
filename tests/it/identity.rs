//! What an account costs: one mailbox, one account; a name that is nobody else's; a password that is not guessed.

use flash_sale::config::Limits;
use flash_sale::model::id::Id;
use futures_util::future::join_all;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Actor, Shop, sneaker};

const PASSWORD: &str = "correct horse battery";

/// Long waits for a password hash are allowed: a slow machine is not the subject here.
fn patient_with_hashes() -> Limits {
    Limits::default().with(|limits| limits.accounts.password_hash_wait_ms_max = 60_000)
}

fn account(email: &str) -> Value {
    json!({"name": "Ada Lovelace", "email": email, "password": PASSWORD})
}

async fn log_in(visitor: &Actor, email: &str, password: &str) -> (u16, Value) {
    let answer = visitor.post("/auth/login", &json!({"email": email, "password": password})).await;
    (answer.status, answer.json["user"]["id"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_of_an_address_are_one_account() {
    let shop = Shop::open_with(patient_with_hashes()).await;
    let visitor = shop.visitor();
    for variants in [
        vec![
            "scalper@gmail.com",
            "scalper+1@gmail.com",
            "scalper+2@gmail.com",
            "s.calper@gmail.com",
            "s.c.a.l.p.e.r@gmail.com",
            "SCALPER@googlemail.com",
        ],
        vec!["scalper@me.com", "scalper+1@icloud.com", "scalper@mac.com"],
        vec![
            "scalper@xn--mnchen-3ya.example",
            "scalper@m\u{fc}nchen.example",
            "scalper@mu\u{308}nchen.example",
        ],
    ] {
        // At the same time, so that the unique index must decide.
        let answers = join_all(
            variants.iter().map(async |email| visitor.post("/auth/register", &account(email)).await),
        )
        .await;
        let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(made.len(), 1, "{answers:?}");
        let user = &made[0].json["user"];
        for (answer, email) in answers.iter().zip(&variants) {
            assert!(answer.status == 201 || answer.code() == "email_taken", "{email}: {answer:?}");
            // Whoever can read the mail of one can read that of all.
            assert_eq!(log_in(&visitor, email, PASSWORD).await, (200, user["id"].clone()), "{email}");
        }
    }
    // Different people.
    for email in
        ["scalper@outlook.com", "s.calper@outlook.com", "scalper+1@shop.example", "scalper@shop.example"]
    {
        visitor.post("/auth/register", &account(email)).await.expect(201);
    }
    for none in ["scalper@localhost", "scalper@127.0.0.1", "scalper@[127.0.0.1]", "\"scalper\"@shop.example"]
    {
        visitor.post("/auth/register", &account(none)).await.invalid(&["email"]);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_of_an_address_share_their_limit_of_wrong_passwords() {
    let limits = patient_with_hashes().with(|limits| {
        limits.accounts.login_failures_max = 3;
        limits.clients.leaves_private_alone = false;
    });
    let shop = Shop::open_with(limits).await;
    let visitor = shop.visitor();
    visitor.post("/auth/register", &account("scalper@gmail.com")).await.expect(201);
    let mut statuses = Vec::new();
    for email in ["scalper@gmail.com", "s.calper@gmail.com", "scalper+1@gmail.com", "sc.alper@gmail.com"] {
        statuses.push(log_in(&visitor, email, "not the password").await.0);
    }
    assert_eq!(statuses, [401, 401, 401, 429]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_an_earlier_version_get_a_canonical_address() {
    let shop = Shop::open_with(patient_with_hashes()).await;
    let visitor = shop.visitor();
    let users = shop.database().await.collection::<Document>("users");
    // As an earlier version has made them.
    let addresses = ["s.calper@gmail.com", "scalper+1@gmail.com", "scalper@localhost", "ada@shop.example"];
    let mut ids = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let body = account(&format!("{number}@shop.example"));
        let made = visitor.post("/auth/register", &body).await.expect(201).json["user"]["id"].clone();
        let id: Id = made.as_str().unwrap().parse().unwrap();
        let change = doc! { "$set": { "email": *address }, "$unset": { "emailCanonical": "" } };
        users.update_one(doc! { "_id": id }, change).await.unwrap();
        ids.push((id, made));
    }
    // More than are changed at once, and longer ago than what each start looks at.
    let old = |number: u32| {
        let mut bytes = [0; 12];
        bytes[2..6].copy_from_slice(&number.to_be_bytes());
        // Each tenth is a variant of the one before.
        let email = match number % 10 {
            9 => format!("old{}+x@gmail.com", number - 1),
            _ => format!("o.ld{number}@gmail.com"),
        };
        doc! {
            "_id": Id::from_bytes(bytes), "name": "Ada", "email": email, "passwordHash": "", "role": "customer",
            "createdAt": DateTime::now(),
        }
    };
    users.insert_many((1..=2_500).map(old)).await.unwrap();
    // Several servers start at once.
    for store in join_all((0..3).map(|_| shop.store())).await {
        store.close(std::time::Duration::from_secs(10)).await;
    }
    let count = async |query: Document| users.count_documents(query).await.unwrap();
    assert_eq!(count(doc! { "emailCanonical": { "$exists": false } }).await, 0);
    assert_eq!(count(doc! { "emailCanonical": null, "email": { "$regex": "^old" } }).await, 250);
    assert_eq!(count(doc! { "emailCanonical": null, "email": { "$regex": "^o\\.ld" } }).await, 0);
    let mut forms = Vec::new();
    for (id, _) in &ids {
        let account = users.find_one(doc! { "_id": id }).await.unwrap().unwrap();
        forms.push(account.get_str("emailCanonical").ok().map(str::to_owned));
    }
    let forms: Vec<_> = forms.iter().map(Option::as_deref).collect();
    // The older one has it.
    assert_eq!(forms, [Some("scalper@gmail.com"), None, None, Some("ada@shop.example")]);
    // Each is found by its own address, and nobody can make a third.
    for ((_, id), address) in ids.iter().zip(addresses) {
        assert_eq!(log_in(&visitor, address, PASSWORD).await, (200, id.clone()), "{address}");
    }
    assert_eq!(log_in(&visitor, "scalper@gmail.com", PASSWORD).await, (200, ids[0].1.clone()));
    visitor.post("/auth/register", &account("scalper@gmail.com")).await.problem(409, "email_taken");
    visitor.post("/auth/register", &account("scalper+1@gmail.com")).await.problem(409, "email_taken");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_nobody_elses_and_carries_no_message() {
    let mut shop = Shop::open_with(patient_with_hashes()).await;
    shop.add_server_where(&[("RESERVED_NAMES", "Sneaker House, Shopname")]).await;
    let visitor = shop.visitor();
    let strict = shop.at(&visitor, 1);
    let body = |name: &str| {
        let mut body = account(&format!("{}@shop.example", Id::new().to_hex()));
        body["name"] = json!(name);
        body
    };
    for name in [
        "Admin",
        "Аda L.",
        "http://evil.example/buy A.",
        "+49 151 12345678",
        "Call 0151 23456789",
        "\u{3164}",
        "\u{115f}\u{1160}",
        "Ada\u{200b}",
        "ada@shop.example",
        "Aq\u{315}\u{300}\u{323}\u{31b}\u{308}da",
    ] {
        let refused = visitor.post("/auth/register", &body(name)).await;
        let message = refused.json["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("must have "), "{name}: {message}");
        refused.invalid(&["name"]);
    }
    for (name, stored) in [
        ("O’Brien", "O’Brien"),
        ("Jose\u{301} María", "José María"),
        ("山田\u{3000}太郎", "山田 太郎"),
        ("Buyer 1731680000000", "Buyer 1731680000000"),
        ("Sneaker House", "Sneaker House"),
    ] {
        let made = visitor.post("/auth/register", &body(name)).await.expect(201);
        assert_eq!(made.json["user"]["name"], stored);
    }
    strict.post("/auth/register", &body("Sneakerhouse")).await.invalid(&["name"]);
    strict.post("/auth/register", &body("5neaker House Team")).await.invalid(&["name"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaderboard_shows_no_name_that_breaks_the_rules() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let names = [
        ("Ada Lovelace", "Ada L."),
        ("Scalper99", "S."),
        ("Admin", "Anonymous"),
        ("Аda L.", "Anonymous"),
        ("http://evil.example/buy A.", "Anonymous"),
        ("+49 151 12345678", "Anonymous"),
        ("\u{3164}", "Anonymous"),
        ("ada@shop.example", "Anonymous"),
    ];
    for (name, _) in names {
        // Signed by an identity provider that has other rules.
        shop.buyer_named(name).purchase(&id).await.expect(201);
    }
    let page = shop.visitor().get(&format!("/leaderboard?productId={id}")).await.expect(200).json;
    let buyers: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| &item["buyer"]).collect();
    assert_eq!(buyers, names.map(|(_, shown)| shown));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guessable_password_is_refused_in_words() {
    let mut shop = Shop::open_with(patient_with_hashes()).await;
    shop.add_server_where(&[("RESERVED_NAMES", "Sneaker House")]).await;
    let visitor = shop.visitor();
    let body = |password: &str| json!({"name": "Ada Lovelace", "email": "ada.l@engine.example", "password": password});
    for password in [
        "123456789012",
        "aaaaaaaaaaaa",
        "ada.l@engine.example",
        "AdaLovelace24",
        "password1234",
        "passwordpassword",
        "\u{ff50}assword1234",
        &"a".repeat(128),
    ] {
        let refused = visitor.post("/auth/register", &body(password)).await;
        let message = refused.json["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("is too easy to guess"), "{password}: {message}");
        refused.invalid(&["password"]);
    }
    let shops = body("sneakerhouse24");
    shop.at(&visitor, 1).post("/auth/register", &shops).await.invalid(&["password"]);
    // With all that is wrong besides.
    let body =
        json!({"name": "Admin", "email": "ada@localhost", "password": "123456789012", "role": "admin"});
    visitor.post("/auth/register", &body).await.invalid(&["name", "email", "password", "role"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_however_its_letters_are_composed() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let (composed, decomposed) = ("l'\u{e9}t\u{e9} \u{e0} la plage", "l'e\u{301}te\u{301} a\u{300} la plage");
    for (email, made, sent) in
        [("a@shop.example", composed, decomposed), ("b@shop.example", decomposed, composed)]
    {
        let body = json!({"name": "Ada Lovelace", "email": email, "password": made});
        visitor.post("/auth/register", &body).await.expect(201);
        assert_eq!(log_in(&visitor, email, sent).await.0, 200);
        assert_eq!(log_in(&visitor, email, made).await.0, 200);
        assert_eq!(log_in(&visitor, email, "l'ete a la plage").await.0, 401);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_with_an_identity_provider_takes_no_registrations() {
    let mut shop = Shop::open().await;
    shop.make_admin().await;
    shop.add_server_where(&[("REGISTRATION", "closed")]).await;
    let open = shop.visitor();
    let closed = shop.at(&open, 1);
    for body in [account("ada@shop.example"), json!({}), json!({"name": 1})] {
        closed.post("/auth/register", &body).await.problem(403, "forbidden");
    }
    assert_eq!(log_in(&closed, ADMIN.0, ADMIN.1).await.0, 200);
    let page = async |actor: &Actor| {
        let page = reqwest::get(format!("http://{}/", actor.host())).await.unwrap();
        (page.headers()["etag"].clone(), page.text().await.unwrap())
    };
    let ((open_tag, open_page), (closed_tag, closed_page)) = (page(&open).await, page(&closed).await);
    assert!(open_page.contains("data-registration=\"open\"") && open_tag != closed_tag);
    assert!(closed_page.contains("data-registration=\"closed\""));
    shop.close().await;
}
