//! Where things are in this checkout. Every path that a chore writes to is named here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The checkout that this program was built in.
pub(crate) struct Checkout {
    root: PathBuf,
    target: PathBuf,
}

impl Checkout {
    /// The workspace's root is the folder above this package.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package has no folder above it")?
            .to_owned();
        ensure!(
            root.join("Cargo.toml").is_file(),
            "{} is no workspace",
            root.display()
        );
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |target| root.join(target));
        Ok(Self { root, target })
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The released server.
    pub(crate) fn rookery(&self) -> PathBuf {
        self.released("rookery")
    }

    /// A released binary.
    pub(crate) fn released(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where everything is built.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Data of a density run's server, gone afterwards. On a real disk: the commit log writes around the
    /// page cache, which memory file systems do not allow, and memory is what is measured.
    pub(crate) fn density(&self) -> PathBuf {
        self.target.join("density")
    }

    /// The Debian package, and what it is made of.
    pub(crate) fn package(&self) -> PathBuf {
        self.target.join("package")
    }

    /// Data, logs and pids of the services of the distributed form.
    pub(crate) fn services(&self) -> PathBuf {
        self.target.join("services")
    }

    /// A path as a command at the root may name it.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// Full output of each step.
    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// Fuzzing binaries: built with other flags, so in a folder of their own.
    pub(crate) fn fuzz_target(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// The server with frame pointers, for profiles: other flags, so a folder of its own.
    pub(crate) fn frames_target(&self) -> PathBuf {
        self.target.join("frames")
    }

    /// Foreign tools, installed by us.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// The Python of the tests.
    pub(crate) fn python(&self) -> PathBuf {
        self.tools().join("venv/bin/python")
    }

    /// Where the npm packages are.
    pub(crate) fn node_modules(&self) -> PathBuf {
        self.tools().join("node/node_modules")
    }

    /// A command that starts at the root.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Cargo, at the root.
    pub(crate) fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// The files of the project: tracked, and new ones that are not ignored.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let output = self
            .command("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .output()
            .context("git ls-files")?;
        ensure!(
            output.status.success(),
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let names = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
        let mut files: Vec<PathBuf> = names
            .split_terminator('\0')
            .map(PathBuf::from)
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}
