//! The licences of what is linked into the server: their texts have to travel with it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::cargo;
use crate::checkout::Checkout;

/// What a file with a licence or a notice in it begins with, in small letters.
const NAMES: [&str; 5] = ["license", "licence", "copying", "copyright", "notice"];

/// Folders below a package that are looked into: C libraries bring their own.
const DEPTH: usize = 3;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

/// The packages that the server links, each with its licence and the texts that it brings. Texts that several
/// bring stand once.
pub(super) fn of_server(checkout: &Checkout) -> Result<String> {
    let metadata: Metadata =
        serde_json::from_slice(&cargo::metadata(checkout)?).context("what cargo metadata says")?;
    let linked = linked(&metadata).context("the package rookery-edge is not there")?;

    let mut list = String::from("What is linked into rookery, and under which licence.\n\n");
    let mut texts: Vec<(String, Vec<String>)> = Vec::new();
    for package in &metadata.packages {
        if !linked.contains(&package.id) || metadata.workspace_members.contains(&package.id) {
            continue;
        }
        let named = format!("{} {}", package.name, package.version);
        let license = package.license.as_deref().unwrap_or("see its text");
        writeln!(list, "{named}: {license}")?;
        let folder = package.manifest_path.parent().context("no folder")?;
        let mut files = Vec::new();
        find(folder, DEPTH, &mut files)?;
        for file in files {
            let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
            match texts.iter_mut().find(|(known, _)| *known == text) {
                Some((_, of)) if of.last() != Some(&named) => of.push(named.clone()),
                Some(_) => {}
                None => texts.push((text, vec![named.clone()])),
            }
        }
    }
    for (text, of) in texts {
        write!(list, "\n{}\n{}\n\n{text}", "-".repeat(72), of.join(", "))?;
    }
    Ok(list)
}

/// What the server needs to run, followed through normal dependencies.
fn linked(metadata: &Metadata) -> Option<BTreeSet<String>> {
    let edge = metadata
        .packages
        .iter()
        .find(|package| package.name == "rookery-edge")?;
    let mut linked = BTreeSet::new();
    let mut open = vec![&edge.id];
    while let Some(id) = open.pop() {
        if !linked.insert(id.clone()) {
            continue;
        }
        let node = metadata.resolve.nodes.iter().find(|node| &node.id == id)?;
        let normal = |dependency: &&Dependency| {
            let kinds = &dependency.dep_kinds;
            kinds.iter().any(|kind| kind.kind.is_none())
        };
        open.extend(node.deps.iter().filter(normal).map(|found| &found.pkg));
    }
    Some(linked)
}

fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        if path.is_dir() && depth > 0 {
            find(&path, depth - 1, files)?;
        } else if path.is_file() && NAMES.iter().any(|known| name.starts_with(known)) {
            files.push(path);
        }
    }
    Ok(())
}
