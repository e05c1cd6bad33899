//! A disk of its own for each node, so that its machine can lose power: an ext4 file system on an image that is mounted through
//! a loop device (which needs root). What was not synced is in the memory of the mounted file system and not yet in the image,
//! so a copy of the image is what a power cut leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Images are sparse: they take what is written.
const IMAGE_BYTES: &str = "2G";

/// The disk of a node's machine.
#[derive(Debug)]
pub struct Machine {
    image: PathBuf,
    mount: PathBuf,
    /// Tells the node which boot of its machine this is.
    pub boot: PathBuf,
    boots: u64,
}

impl Machine {
    /// Makes and mounts the disk in `folder`.
    ///
    /// # Errors
    /// Not root, or no loop devices, or no `mkfs.ext4`; the text says which command failed.
    pub fn new(folder: &Path) -> Result<Machine, String> {
        let (image, mount) = (folder.join("disk.img"), folder.join("disk"));
        fs::create_dir_all(&mount).map_err(|error| format!("cannot write {}: {error}", mount.display()))?;
        run(Command::new("truncate").args(["-s", IMAGE_BYTES]).arg(&image))?;
        run(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0"]).arg(&image))?;
        let mut machine = Machine { image, mount, boot: folder.join("boot-id"), boots: 0 };
        machine.boot()?;
        Ok(machine)
    }

    /// Where the node may put its data.
    pub fn data(folder: &Path) -> PathBuf {
        folder.join("disk").join("data")
    }

    /// What is on the disk now is what the power cut leaves; the node must be frozen.
    ///
    /// # Errors
    /// The copy fails.
    pub fn lose_power(&self) -> Result<(), String> {
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(self.image.with_extension("cut")))
    }

    /// Begins anew from what the power cut left; the node must be gone.
    ///
    /// # Errors
    /// The disk cannot be taken out or put back.
    pub fn come_back(&mut self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.mount))?;
        fs::rename(self.image.with_extension("cut"), &self.image)
            .map_err(|error| format!("cannot replace {}: {error}", self.image.display()))?;
        self.boot()
    }

    fn boot(&mut self) -> Result<(), String> {
        self.boots += 1;
        let id = format!("{:08}-0000-4000-8000-000000000000\n", self.boots);
        fs::write(&self.boot, id)
            .map_err(|error| format!("cannot write {}: {error}", self.boot.display()))?;
        run(Command::new("mount").args(["-o", "loop"]).args([&self.image, &self.mount]))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still hold it for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.mount).output();
    }
}

/// Takes out disks that an earlier run left in.
pub fn take_out_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let mount = entry.path().join("disk");
        if mount.exists() {
            let _ = Command::new("umount").arg("-l").arg(&mount).output();
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
