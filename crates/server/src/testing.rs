//! What the unit tests of this crate share.

use std::path::{Path, PathBuf};

use crate::config::{Config, Sources, load};

/// A folder that is gone when the test ends.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new, empty one.
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("consort-test-{:016x}", crate::random::number()));
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The configuration of the first of three nodes: n1, n2, n3.
pub fn three_nodes() -> Config {
    let nodes = (1..=3)
        .map(|n| {
            format!(
                "[[nodes]]\nname = \"n{n}\"\nclient = \"127.0.0.1:700{n}\"\npeer = \"127.0.0.1:800{n}\"\n"
            )
        })
        .collect::<String>();
    let text = format!("name = \"n1\"\n{nodes}");
    let sources = Sources { file: Some(("consort.toml", &text)), ..Sources::default() };
    load(sources).expect("the configuration is valid").config
}
