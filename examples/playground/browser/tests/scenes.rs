//! Plays every scene in Chromium. What the page shows is compared with what strace has seen.
//!
//! ```sh
//! cargo build --example playground
//! cargo test --manifest-path examples/playground/browser/Cargo.toml
//! ```
//!
//! With `PICTURES=FOLDER` it also takes pictures of the page, in two sizes, light and dark.

use browser::{Browser, Playground};
use serde_json::Value;
use std::{env, fs};

#[test]
fn pictures() {
    let Some(folder) = env::var_os("PICTURES") else {
        return;
    };
    let playground = Playground::start(false);
    let browser = Browser::start();
    let take = |name: &str| {
        for (width, height) in [(1280, 800), (400, 800)] {
            for dark in [false, true] {
                browser.look(width, height, dark);
                browser.run("scrollTo(0, 0)");
                let scheme = if dark { "dark" } else { "light" };
                let path =
                    std::path::Path::new(&folder).join(format!("{name}-{width}-{scheme}.b64"));
                fs::write(path, browser.picture()).unwrap();
            }
        }
    };
    browser.look(1280, 800, false);
    browser.open(&format!("http://{}/", playground.address));
    browser.wait("states.length === 1");
    take("start");
    for (scene, steps) in [(0, 7), (3, 6)] {
        browser.look(1280, 800, false);
        browser.click(&format!("#scene-{scene}"));
        browser.wait(&format!(
            "now().scene?.number === {scene} && now().step === {steps}"
        ));
        take(&format!("scene{scene}-before"));
        browser.look(1280, 800, false);
        browser.click("#guess-1");
        browser.click("#ask");
        browser.wait("now().scene.answered");
        take(&format!("scene{scene}-after"));
    }
    let _: Vec<Value> = Vec::new();
    println!("{:?}", browser.complaints());
}
