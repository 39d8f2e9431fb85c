//! The history test: servers over a replica set, buyers, readers and watchers, and faults that a seed decides; and a checker
//! that reads what everybody was told and says which promise was broken. docs/RELIABILITY.md tells how to read and repeat it.

mod actors;
mod checker;
mod client;
mod cluster;
mod faults;
mod random;
mod record;
mod run;
mod scenes;
mod settings;
mod shop;
mod stored;
mod till;

use cluster::Cluster;
use settings::Settings;
use tokio::sync::Mutex;

/// Two clusters at once would wait for each other's processor time, and that is no fault that anybody has planned.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_run_keeps_every_promise() {
    let _turn = ONE_AT_A_TIME.lock().await;
    run::run(&Settings::from_environment()).await;
}

/// What is easily wrong, brought about on purpose.
#[tokio::test(flavor = "multi_thread")]
async fn scenes_keep_every_promise() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let settings = Settings::from_environment();
    let mut cluster = Cluster::start("scenes").await;
    let mut wrong = Vec::new();
    for scene in settings.scenes() {
        if let Err(why) = scene.is_possible(&cluster) {
            println!("{} is left out: {why}", scene.name);
            continue;
        }
        let begin = record::now();
        let report = scene.play(&mut cluster, &settings, settings.sabotage.as_deref()).await;
        let took = (record::now() - begin) as f64 / 1e6;
        let (checked, found) = (report.checked.values().sum::<u64>(), &report.found);
        println!("{}: {took:.1} s, {checked} things checked, found {found:?}", scene.name);
        wrong.extend(report.violations.iter().map(|violation| format!("{}: {violation:?}", scene.name)));
    }
    let logs = cluster.root().display().to_string();
    if !wrong.is_empty() {
        cluster.keep();
    }
    assert!(wrong.is_empty(), "{}\nlogs: {logs}", wrong.join("\n"));
    cluster.remove();
}

/// The same with the mistakes built in: the checker can fail, and it calls each of them by its name.
#[cfg(feature = "sabotage")]
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_found() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let settings = Settings::from_environment();
    let mut cluster = Cluster::start("mistakes").await;
    let mut missed = Vec::new();
    for scene in settings.scenes() {
        let Some(mistake) = scene.mistake else { continue };
        let report = scene.play(&mut cluster, &settings, Some(mistake)).await;
        println!("{mistake}: found {:?}", report.found);
        if !scene.violations.iter().any(|name| report.has(name)) {
            missed.push(format!("{mistake}: not one of {:?}, but {:?}", scene.violations, report.found));
        }
    }
    assert!(missed.is_empty(), "{}\nlogs: {}", missed.join("\n"), cluster.root().display());
    cluster.remove();
}
