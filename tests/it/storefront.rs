//! The storefront: the program serves all of it, and the page loads nothing from elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reqwest::Method;

use crate::harness::{Actor, Shop};

/// Requests a file as a browser does.
async fn fetch(visitor: &Actor, path: &str) -> reqwest::Response {
    reqwest::get(format!("http://{}{path}", visitor.host())).await.unwrap()
}

/// The files of `web/`, by their relative paths.
fn files() -> BTreeSet<String> {
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

/// The path under which a file is served.
fn path_of(file: &str) -> String {
    if file == "index.html" { "/".to_owned() } else { format!("/assets/{file}") }
}

fn text_of(file: &str) -> String {
    fs::read_to_string(format!("{}/web/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_served_as_it_is() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    for file in files() {
        let path = path_of(&file);
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
        assert_eq!(header("cache-control"), "no-cache", "{path}");
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
        assert_eq!(response.text().await.unwrap(), text_of(&file), "{path}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_what_has_not_changed() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let mut tags = BTreeSet::new();
    for file in files() {
        let path = path_of(&file);
        let whole = visitor.get(&path).await.expect(200);
        let tag = whole.etag();
        assert!(tag.starts_with('"'), "{path}: a strong tag: {tag}");
        assert!(tags.insert(tag.clone()), "{path}: no other file has its tag");
        let kept = visitor.get_with(&path, &[("If-None-Match", &tag)]).await.expect(304);
        assert_eq!(kept.etag(), tag);
        assert_eq!(kept.header("cache-control"), Some("no-cache"));
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
        "/assets/nope.js",
        "/assets/index.html",
        "/assets/parts",
        "/assets/..%2fCargo.toml",
        "/index.html",
        "/main.js",
    ] {
        visitor.get(path).await.problem(404, "not_found");
    }
    shop.close().await;
}

/// The files that a file refers to, as served paths: `src` and `href` of the page, imports of a module.
fn references(file: &str, text: &str) -> Vec<String> {
    let quoted = |start: &str, quote: char| {
        let parts = text.split(start).skip(1);
        parts.filter_map(move |part| part.split(quote).next()).map(str::to_owned).collect::<Vec<_>>()
    };
    if file.ends_with(".html") {
        let all = [quoted("src=\"", '"'), quoted("href=\"", '"')].concat();
        return all.into_iter().filter(|reference| !reference.starts_with('#')).collect();
    }
    if !file.ends_with(".js") {
        return Vec::new();
    }
    let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
    let imports = [quoted(" from '", '\''), quoted("import('", '\'')].concat();
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
    let served: BTreeSet<String> = files.iter().map(|file| path_of(file)).collect();
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
