//! Starting a command: a process group of its own, one pipe for both outputs, bounded input.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Program, Spec};
use crate::config::PASSWORD_VARIABLE;

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The working directory is missing or closed to this user.
    #[error("working directory {}: {source}; create it or change `dir`", dir.display())]
    Dir {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program is missing, not executable, or the system refused another process.
    #[error("program {program:?}: {source}; check its path, PATH and permissions")]
    Program {
        /// The program or shell.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// No pipe for its output or input.
    #[error("no pipe for its output: {0}; is the limit of open files reached?")]
    Pipe(io::Error),
    /// The command holds no program.
    #[error("the command is empty; give a program")]
    Empty,
}

impl SpawnError {
    /// Whether the same command may start later without anybody changing something.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Dir { source, .. } | Self::Program { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::ArgumentListTooLong
            ),
            Self::Pipe(_) => true,
            Self::Empty => false,
        }
    }
}

/// A started command. Its pipes never block.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) output: PipeReader,
    pub(super) stdin: Option<ChildStdin>,
}

/// Starts `spec` in a process group whose id is the child's process id.
pub(super) fn spawn(spec: &Spec) -> Result<Started, SpawnError> {
    let (mut command, program) = command_of(spec)?;
    // Both outputs share one pipe, so that their lines keep the order in which they were written.
    let (output, writer) = io::pipe().map_err(SpawnError::Pipe)?;
    command.stdout(writer.try_clone().map_err(SpawnError::Pipe)?);
    command.stderr(writer);
    command.stdin(if spec.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    if let Some(dir) = &spec.dir {
        match check_dir(Path::new(dir)) {
            Err(_) if spec.dir_optional => command.current_dir("/"),
            checked => {
                checked?;
                command.current_dir(dir)
            }
        };
    }
    let spawned = command.spawn();
    // The command holds the pipe's writing ends: without this drop the pipe would never end.
    drop(command);
    let mut child = spawned.map_err(|source| SpawnError::Program { program, source })?;
    let stdin = child.stdin.take();
    // A pipe that cannot be made non-blocking could hang the runner. That call only fails on a
    // descriptor that is not open, which these are.
    set_nonblocking(&output).expect("the pipe was opened above");
    if let Some(stdin) = &stdin {
        set_nonblocking(stdin).expect("the pipe was opened by spawn");
    }
    Ok(Started { child, output, stdin })
}

fn command_of(spec: &Spec) -> Result<(Command, String), SpawnError> {
    let (program, arguments): (&str, Vec<&str>) = match &spec.program {
        Program::Argv(argv) => {
            let (program, arguments) = argv.split_first().ok_or(SpawnError::Empty)?;
            (program, arguments.iter().map(String::as_str).collect())
        }
        Program::Shell { shell, line } => (shell, vec!["-c", line]),
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if !spec.inherit_env {
        command.env_clear();
    }
    // What workers have to know is none of a command's business.
    command.env_remove(PASSWORD_VARIABLE);
    command.envs(&spec.env);
    command.process_group(0);
    if let Some(user) = &spec.run_as {
        // The order of the calls does not matter: the library sets the group before the user,
        // and drops the supplementary groups of root.
        command.gid(user.gid).uid(user.uid);
    }
    Ok((command, program.to_owned()))
}

/// The system reports a missing directory and a missing program alike; this tells them apart.
fn check_dir(dir: &Path) -> Result<(), SpawnError> {
    let refused = |source| SpawnError::Dir { dir: dir.to_path_buf(), source };
    let metadata = std::fs::metadata(dir).map_err(refused)?;
    if metadata.is_dir() {
        Ok(())
    } else {
        Err(refused(io::Error::from(io::ErrorKind::NotADirectory)))
    }
}

fn set_nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(pipe)?;
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
    Ok(())
}
