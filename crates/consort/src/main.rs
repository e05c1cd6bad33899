//! `consort`: the one binary. `dev` runs a local cluster, `server` runs a node, `ctl` asks a cluster about itself.
fn main() {}
