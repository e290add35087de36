//! Every verb where nobody takes what it says: on a full disk, to a closed pipe, beyond `ulimit -f`. None
//! panics or is killed; one whose purpose is its answer fails with it, but for a reader that has seen enough.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use clap::CommandFactory as _;
use rookery_edge::cli::Cli;

use super::{data_directory, stderr};

/// What a verb is for.
#[derive(Clone, Copy)]
enum Purpose {
    /// What it prints.
    Answer,
    /// Something else, at which it fails here, with this exit code.
    Work(i32),
    /// To run until it is asked to stop.
    Server,
}

/// How a verb is called so that it says something.
fn call<'a>(verb: &'a str, data: &'a str, key: &'a str) -> (Purpose, Vec<&'a str>) {
    let (purpose, options): (_, &[&str]) = match verb {
        "serve" => (Purpose::Server, &["--shards", "1", "--data", data]),
        "chat" => {
            let nobody: &[&str] = &["--user", "7", "--to", "8", "--url", "wss://127.0.0.1:1"];
            return (
                Purpose::Work(1),
                [&["chat", "--data", data], nobody].concat(),
            );
        }
        "flock" => (Purpose::Work(1), &["ws://127.0.0.1:1", "--echo"]),
        "handshakes" => (Purpose::Answer, &["--duration", "20ms", "--rounds", "1"]),
        "token" => (Purpose::Answer, &["--user", "7", "--key", key]),
        "check-config" | "man" => (Purpose::Answer, &[]),
        "migrate" => (Purpose::Work(2), &[]),
        // No server is there.
        "top" => (Purpose::Work(1), &["--once", "--data", data]),
        "trace" => (Purpose::Work(1), &["--user", "7", "--data", data]),
        "drain" => (Purpose::Work(1), &["status", "--data", data]),
        "revoke" => (Purpose::Work(1), &["--user", "7", "--data", data]),
        "completions" => (Purpose::Answer, &["bash"]),
        other => panic!("say here what `{other}` is for, and how it is called"),
    };
    (purpose, [&[verb], options].concat())
}

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    FullDisk,
    ClosedPipe,
    /// A file that must not grow: a write is answered with SIGXFSZ.
    NoRoom,
}

impl Sink {
    const ALL: [Self; 3] = [Self::FullDisk, Self::ClosedPipe, Self::NoRoom];

    fn open(self) -> Stdio {
        match self {
            Self::FullDisk => File::options()
                .write(true)
                .open("/dev/full")
                .unwrap()
                .into(),
            Self::ClosedPipe => std::io::pipe().unwrap().1.into(),
            Self::NoRoom => tempfile::tempfile().unwrap().into(),
        }
    }

    /// The program, where this is one of its outputs.
    fn rookery(self, args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_rookery");
        let mut command = match self {
            Self::NoRoom => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "ulimit -f 0; exec \"$0\" \"$@\"", program]);
                shell
            }
            _ => Command::new(program),
        };
        command.args(args).env_clear().stdin(Stdio::null());
        command
    }

    /// The exit code of a verb that cannot write its answer here.
    fn code(self) -> i32 {
        match self {
            Self::ClosedPipe => 0,
            Self::FullDisk | Self::NoRoom => 1,
        }
    }
}

fn verbs() -> Vec<String> {
    let command = Cli::command();
    let verbs = command.get_subcommands().map(|it| it.get_name().to_owned());
    verbs.collect()
}

#[test]
fn no_verb_panics_where_its_output_cannot_be_written() {
    let data = data_directory();
    let key = data.path().join("auth/dev-key");
    let (data, key) = (data.path().to_str().unwrap(), key.to_str().unwrap());
    for verb in &verbs() {
        let (purpose, args) = call(verb, data, key);
        let normal = match purpose {
            Purpose::Server => continue,
            Purpose::Answer => 0,
            Purpose::Work(code) => code,
        };
        for sink in Sink::ALL {
            let mut command = sink.rookery(&args);
            let output = command.stdout(sink.open()).output().unwrap();
            let told = stderr(&output);
            let expected = match purpose {
                Purpose::Answer => sink.code(),
                _ => normal,
            };
            assert_eq!(
                output.status.code(),
                Some(expected),
                "{verb} > {sink:?}: {told}"
            );
            assert_eq!(told.is_empty(), expected == 0, "{verb} > {sink:?}: {told}");
            assert!(!told.contains("panicked"), "{verb} > {sink:?}: {told}");

            let mut command = sink.rookery(&args);
            let status = command.stdout(Stdio::null()).stderr(sink.open()).status();
            assert_eq!(status.unwrap().code(), Some(normal), "{verb} 2> {sink:?}");
        }
    }
}

#[test]
fn help_and_version_are_answers() {
    let verbs = verbs();
    let help = verbs.iter().map(|verb| vec![verb.as_str(), "--help"]);
    let of_all = [vec!["--help"], vec!["help"], vec!["--version"]];
    for args in help.chain(of_all) {
        for sink in Sink::ALL {
            let output = sink.rookery(&args).stdout(sink.open()).output().unwrap();
            let told = stderr(&output);
            let code = sink.code();
            assert_eq!(
                output.status.code(),
                Some(code),
                "{args:?} > {sink:?}: {told}"
            );
            assert_eq!(told.is_empty(), code == 0, "{args:?} > {sink:?}: {told}");
        }
    }
    for sink in Sink::ALL {
        let status = sink.rookery(&["sevre"]).stderr(sink.open()).status();
        assert_eq!(status.unwrap().code(), Some(2), "2> {sink:?}");
    }
}

/// A server that nobody listens to; it can be reached when this returns.
fn serve(args: &[&str], sink: Sink) -> Child {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let listen = port.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rookery"));
    command.args(args).args(["--listen", &listen]).env_clear();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(sink.open())
        .stderr(sink.open())
        .spawn()
        .unwrap();
    while TcpStream::connect(port).is_err() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "serve > {sink:?} 2>&1: {ended:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child
}

#[test]
fn a_server_goes_on_where_nobody_listens_to_it() {
    for verb in &verbs() {
        let data = tempfile::tempdir().unwrap();
        let (Purpose::Server, args) = call(verb, data.path().to_str().unwrap(), "") else {
            continue;
        };
        for sink in [Sink::FullDisk, Sink::ClosedPipe] {
            let mut child = serve(&args, sink);
            let pid = child.id().to_string();
            assert!(Command::new("kill").arg(pid).status().unwrap().success());
            let status = child.wait().unwrap();
            assert_eq!(status.code(), Some(0), "{verb} > {sink:?} 2>&1");
        }
        // What it cannot do without is told.
        let data = tempfile::tempdir().unwrap();
        let (_, args) = call(verb, data.path().to_str().unwrap(), "");
        let output = Sink::NoRoom.rookery(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("File too large"),
            "{}",
            stderr(&output)
        );
    }
}
