//! The storefront: the program serves all of it, and the page loads nothing from elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Method;

use serde_json::json;

use crate::harness::{Actor, Shop, sneaker_with};

/// Requests a file as a browser does.
pub async fn fetch(visitor: &Actor, path: &str) -> reqwest::Response {
    reqwest::get(format!("http://{}{path}", visitor.host())).await.unwrap()
}

/// The files of `web/`, by their relative paths.
pub fn files() -> BTreeSet<String> {
    fn walk(directory: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, root, found),
                false => assert!(found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())),
            }
        }
    }
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/web"));
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

/// The path under which a file is served by this build of the server.
pub fn path_of(file: &str, build: &str) -> String {
    if file == "index.html" { "/".to_owned() } else { format!("/assets/{build}/{file}") }
}

/// The part of the addresses that changes with the files, from the page.
pub async fn build(visitor: &Actor) -> String {
    let page = fetch(visitor, "/").await.text().await.unwrap();
    let (_, rest) = page.split_once("src=\"/assets/").expect("the page's script");
    rest.split_once("/main.js").expect("the page's script").0.to_owned()
}

/// Requests a file, compressed, and unpacks it with `gzip`. Returns the bytes on the wire, too.
pub async fn fetch_compressed(visitor: &Actor, path: &str) -> (reqwest::Response, Vec<u8>, Vec<u8>) {
    let request = reqwest::Client::new().get(format!("http://{}{path}", visitor.host()));
    let mut response = request.header("Accept-Encoding", "gzip, deflate, br").send().await.unwrap();
    let mut packed = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        packed.extend_from_slice(&chunk);
    }
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip, of any system");
    gzip.stdin.take().unwrap().write_all(&packed).unwrap();
    (response, packed, gzip.wait_with_output().unwrap().stdout)
}

/// The modules that the page's script brings with it: what it imports, and what that imports.
fn bundled() -> BTreeSet<String> {
    let mut found = BTreeSet::from(["main.js".to_owned()]);
    let mut open = vec!["main.js".to_owned()];
    while let Some(file) = open.pop() {
        let text: String =
            text_of(&file).lines().filter(|line| !line.contains("import(")).collect::<Vec<_>>().join("\n");
        for reference in references(&file, &text) {
            let name = reference.strip_prefix("/assets/").unwrap().to_owned();
            if found.insert(name.clone()) {
                open.push(name);
            }
        }
    }
    found
}

/// The files that a browser can ask for.
pub fn served() -> BTreeSet<String> {
    let bundled = bundled();
    files().into_iter().filter(|file| file == "main.js" || !bundled.contains(file)).collect()
}

/// The code of a module without what depends on where it is served.
fn code_of(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim().starts_with("//") && !line.starts_with("import "));
    lines.map(|line| line.strip_prefix("export ").unwrap_or(line).to_owned()).collect()
}

/// The source of a file.
pub fn text_of(file: &str) -> String {
    fs::read_to_string(format!("{}/web/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_served_as_it_is_or_in_the_bundle() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let build = build(&visitor).await;
    for file in served() {
        let path = path_of(&file, &build);
        let response = fetch(&visitor, &path).await;
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let content_type = match file.rsplit('.').next().unwrap() {
            "html" => "text/html; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("{path}: no content type is expected of .{other}"),
        };
        assert_eq!(header("content-type"), content_type, "{path}");
        // A file's address changes with its content; a page's stays.
        let caching = if path == "/" { "no-cache" } else { "public, max-age=31536000, immutable" };
        assert_eq!(header("cache-control"), caching, "{path}");
        assert_eq!(header("vary"), "accept-encoding", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert!(header("permissions-policy").contains("geolocation=()"), "{path}");
        let policy = header("content-security-policy");
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split("; ").any(|part| part == directive), "{path}: {directive}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        let expected = match file.rsplit('.').next().unwrap() {
            "html" => text_of(&file).replace("\"/assets/", &format!("\"/assets/{build}/")),
            "js" => {
                let text = response.text().await.unwrap();
                // Comments are for those who read the source.
                assert!(!text.lines().any(|line| line.trim().starts_with("//")), "{path}");
                if file == "main.js" {
                    for part in bundled() {
                        let code = code_of(&text_of(&part)).join("\n");
                        assert!(text.contains(&code), "{path} has no {part}");
                    }
                } else {
                    assert_eq!(code_of(&text), code_of(&text_of(&file)), "{path}");
                }
                continue;
            }
            _ => text_of(&file),
        };
        assert_eq!(response.text().await.unwrap(), expected, "{path}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_sale_says_what_a_preview_shows() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let picture = "https://pictures.example/a.jpg?x='1'&y=\"2\"";
    let product = sneaker_with(json!({
        "name": "Sneaker \"<script>alert(1)</script>\" & more",
        "description": "One run.\n<!-- numbered -->",
        "imageUrl": "https://pictures.example/a.jpg?x='1'&y=2",
        "saleStartTime": "2098-05-04T03:02:01Z",
    }));
    let id = shop.sell(&product).await;
    let page = fetch(&visitor, &format!("/sales/{id}")).await;
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["cache-control"], "no-cache");
    assert!(page.headers().contains_key("content-security-policy"));
    let text = page.text().await.unwrap();
    for expected in [
        "<title>Sneaker &quot;&lt;script&gt;alert(1)&lt;/script&gt;&quot; &amp; more – flash sale</title>",
        "<meta property=\"og:title\" content=\"Sneaker &quot;&lt;script&gt;alert(1)&lt;/script&gt;&quot; &amp; more\">",
        "<meta property=\"og:image\" content=\"https://pictures.example/a.jpg?x=&#39;1&#39;&amp;y=2\">",
        "99.00 USD · starts 2098-05-04 03:02 UTC · One run. &lt;!-- numbered --&gt;\">",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("<script>alert") && !text.contains(picture), "{text}");
    // The rest is the page that all addresses have.
    let plain = fetch(&visitor, "/").await.text().await.unwrap();
    let body = |text: &str| text.split_once("<link rel=\"icon\"").unwrap().1.to_owned();
    assert_eq!(body(&text), body(&plain));
    // The page of a sale that does not exist says so itself.
    for missing in ["/sales/65f1c0ffee65f1c0ffee65f1", "/sales/nothing"] {
        assert_eq!(fetch(&visitor, missing).await.text().await.unwrap(), plain, "{missing}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_looks_as_its_settings_say() {
    let mut shop = Shop::open().await;
    let settings = [
        ("SHOP_NAME", "Small & Runs"),
        ("SHOP_LOGO_URL", "https://shop.example/logo.svg"),
        ("SHOP_COLOR", "#1040c0"),
        ("SHOP_LINKS", "Imprint=https://shop.example/imprint"),
    ];
    shop.add_server_where(&settings).await;
    let (plain, own) = (shop.visitor(), shop.at(&shop.visitor(), 1));
    let page = fetch(&own, "/").await.text().await.unwrap();
    for expected in [
        "<title>Small &amp; Runs</title>",
        "<img class=\"brand-logo\" src=\"https://shop.example/logo.svg\" alt=\"\">",
        "<a href=\"https://shop.example/imprint\">Imprint</a>",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    // Another look is another build.
    let (build_of_plain, build_of_own) = (build(&plain).await, build(&own).await);
    assert_ne!(build_of_plain, build_of_own);
    let theme = fetch(&own, &format!("/assets/{build_of_own}/theme.css")).await.text().await.unwrap();
    assert!(theme.contains("--accent: #1040c0;"), "{theme}");
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let sale = fetch(&own, &format!("/sales/{id}")).await.text().await.unwrap();
    assert!(sale.contains("<title>Limited sneaker – Small &amp; Runs</title>"), "{sale}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_has_an_address_of_its_own() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let plain = fetch(&visitor, "/").await.text().await.unwrap();
    let routes = text_of("main.js").replace("${ID}", "65f1c0ffee65f1c0ffee65f1");
    let paths: Vec<_> = routes.split('[').filter_map(|part| part.strip_prefix(['\'', '`'])).collect();
    assert!(paths.len() >= 9, "{paths:?}");
    for path in paths {
        let path = path.split(['\'', '`']).next().unwrap();
        let page = fetch(&visitor, path).await;
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8", "{path}");
        assert_eq!(page.text().await.unwrap(), plain, "{path}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_what_has_not_changed() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let mut tags = BTreeSet::new();
    let build = build(&visitor).await;
    for file in served() {
        let path = path_of(&file, &build);
        let whole = visitor.get(&path).await.expect(200);
        let tag = whole.etag();
        assert!(tag.starts_with('"'), "{path}: a strong tag: {tag}");
        assert!(tags.insert(tag.clone()), "{path}: no other file has its tag");
        let kept = visitor.get_with(&path, &[("If-None-Match", &tag)]).await.expect(304);
        assert_eq!(kept.etag(), tag);
        assert_eq!(kept.header("cache-control"), whole.header("cache-control"));
        visitor.get_with(&path, &[("If-None-Match", "\"another\"")]).await.expect(200);
        let head = visitor.send(Method::HEAD, &path, None, &[]).await.expect(200);
        assert_eq!(head.etag(), tag);
        for name in ["content-type", "content-length", "content-security-policy"] {
            assert!(head.header(name).is_some(), "{path}: {name}");
            assert_eq!(head.header(name), whole.header(name), "{path}: {name}");
        }
        visitor.send(Method::POST, &path, None, &[]).await.problem(405, "method_not_allowed");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_a_file_is_a_problem() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    for path in [
        "/assets",
        "/assets/main.js",
        "/assets/0123456789abcdef/nope.js",
        "/assets/0123456789abcdef/index.html",
        "/assets/0123456789abcdef/parts",
        "/assets/0123456789abcdef/..%2fCargo.toml",
        "/my",
        "/admin/nothing",
        "/index.html",
        "/main.js",
    ] {
        visitor.get(path).await.problem(404, "not_found");
    }
    shop.close().await;
}

/// The files that a file refers to, as served paths: `src` and `href` of the page, imports of a module.
pub fn references(file: &str, text: &str) -> Vec<String> {
    let quoted = |start: &str, quote: char| {
        let parts = text.split(start).skip(1);
        parts.filter_map(move |part| part.split(quote).next()).map(str::to_owned).collect::<Vec<_>>()
    };
    if file.ends_with(".html") {
        let all = [quoted("src=\"", '"'), quoted("href=\"", '"')].concat();
        return all.into_iter().filter(|reference| !reference.starts_with('#') && reference != "/").collect();
    }
    if !file.ends_with(".js") {
        return Vec::new();
    }
    let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
    let imports = [quoted(" from '", '\''), quoted("import('", '\''), quoted("new URL('", '\'')].concat();
    imports
        .into_iter()
        .filter(|import| import.starts_with('.'))
        .map(|import| match (import.strip_prefix("./"), import.strip_prefix("../")) {
            (Some(sibling), _) if directory.is_empty() => format!("/assets/{sibling}"),
            (Some(sibling), _) => format!("/assets/{directory}/{sibling}"),
            (_, Some(above)) => format!("/assets/{above}"),
            _ => panic!("{file} imports {import}"),
        })
        .collect()
}

/// The page needs each file, and each file that it needs exists.
#[test]
fn the_page_refers_to_all_files_and_no_others() {
    let files = files();
    let in_page = |file: &String| path_of(file, "build").replace("/build/", "/");
    let served: BTreeSet<String> = files.iter().map(in_page).collect();
    let mut referred = BTreeSet::from(["/".to_owned()]);
    for file in &files {
        for reference in references(file, &text_of(file)) {
            assert!(served.contains(&reference) || reference == "/docs", "{file} refers to {reference}");
            referred.insert(reference);
        }
    }
    referred.remove("/docs");
    assert_eq!(referred, served);
}

/// No other host, no markup made from text, nothing that the page's own policy refuses.
#[test]
fn the_files_keep_the_policy() {
    for file in files() {
        let text = text_of(&file);
        // The only addresses are the SVG namespace and the placeholder for a picture's address.
        let text = text.replace("http://www.w3.org/2000/svg", "").replace("'https://'", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{file} names another host");
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "style=\"",
            "<style",
            "javascript:",
            "@import",
            "url(",
        ] {
            assert!(!text.contains(forbidden), "{file}: {forbidden}");
        }
        if file.ends_with(".html") {
            let scripts: Vec<_> = text.split("<script").skip(1).collect();
            assert!(
                scripts.iter().all(|script| script.contains("src=\"/assets/")),
                "{file}: an inline script"
            );
            assert!(!text.contains(" onclick=") && !text.contains(" onload="), "{file}: an inline handler");
        }
    }
}
