//! The options of `run` and `exec`, from words to what `engine` understands. Options end at the image
//! or the container: what follows belongs to the program inside.

use std::collections::HashMap;

use clap::{Args, ValueEnum};

use crate::container::record::{Bind, Network};
use crate::engine::create::CreateContainer;
use crate::error::{Context, Error, Kind, Result};
use crate::shim::control::ExecRequest;

/// `wharf run`.
#[derive(Debug, Args)]
#[command(args_override_self = true, disable_help_flag = true)]
pub struct Run {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub detach: bool,
    /// Remove the container when it has exited
    #[arg(long)]
    rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    tty: bool,
    /// Name of the container; a random one otherwise
    #[arg(long)]
    name: Option<String>,
    /// Set a variable; without a value it is taken from here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Mount a folder or file of the host
    #[arg(short, long, value_name = "HOST:CONTAINER[:OPTIONS]")]
    volume: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User, and optionally group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Host name; the short id otherwise
    #[arg(short, long)]
    hostname: Option<String>,
    /// Network: none, or the host's. Bridges do not exist yet
    #[arg(long, alias = "net", value_enum, default_value = "none")]
    network: NetworkWord,
    /// Limit memory, in bytes or with a unit b, k, m or g
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Limit processor time, in processors
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Limit the number of processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Replace the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Another OCI runtime, by path or name
    #[arg(long, value_name = "PATH")]
    runtime: Option<String>,
    /// The image, and the command to run in place of its own
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "IMAGE [ARG]")]
    image_and_args: Vec<String>,
}

/// `wharf exec`.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Exec {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable; without a value it is taken from here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User, and optionally group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The container, and the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, allow_hyphen_values = true, value_name = "CONTAINER COMMAND")]
    container_and_args: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum NetworkWord {
    None,
    Host,
}

impl Run {
    /// What the words ask for.
    pub fn resolve(self, console_size: Option<(u16, u16)>) -> Result<CreateContainer> {
        let mut words = self.image_and_args.into_iter();
        let image = words.next().unwrap_or_default();
        let mut env = Vec::new();
        for file in &self.env_file {
            let text = std::fs::read_to_string(file).context(format!("read env file {file}"))?;
            env.extend(variables(
                text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')),
            ));
        }
        env.extend(variables(self.env.iter().map(String::as_str)));
        Ok(CreateContainer {
            image,
            args: words.collect(),
            entrypoint: self.entrypoint,
            name: self.name,
            env,
            workdir: self.workdir,
            user: self.user,
            hostname: self.hostname,
            network: match self.network {
                NetworkWord::None => Network::None,
                NetworkWord::Host => Network::Host,
            },
            binds: parse_binds(&self.volume)?,
            memory: self.memory.as_deref().map(parse_memory).transpose()?,
            cpu_quota: self.cpus.as_deref().map(parse_cpus).transpose()?,
            pids_limit: self.pids_limit.filter(|limit| *limit > 0),
            read_only: self.read_only,
            tty: self.tty,
            stdin: self.interactive,
            detached: self.detach,
            remove: self.rm,
            runtime: self.runtime,
            console_size,
        })
    }
}

impl Exec {
    /// The container's name and what to run in it.
    pub fn resolve(self, console_size: Option<(u16, u16)>) -> (String, ExecRequest) {
        let mut words = self.container_and_args.into_iter();
        let container = words.next().unwrap_or_default();
        let request = ExecRequest {
            args: words.collect(),
            env: variables(self.env.iter().map(String::as_str)),
            cwd: self.workdir,
            user: self.user,
            tty: self.tty,
            stdin: self.interactive,
            detached: self.detach,
            console_size,
        };
        (container, request)
    }
}

/// `KEY=value` as it is; a bare `KEY` takes our value, and is left out if we have none.
fn variables<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let value = |word: &str| {
        if word.contains('=') {
            Some(word.to_owned())
        } else {
            Some(format!("{word}={}", std::env::var(word).ok()?))
        }
    };
    words.filter_map(value).collect()
}

fn parse_binds(words: &[String]) -> Result<Vec<Bind>> {
    let binds = words.iter().map(|word| parse_bind(word)).collect::<Result<Vec<_>>>()?;
    let mut targets = HashMap::new();
    for bind in &binds {
        if targets.insert(&bind.target, ()).is_some() {
            return Err(invalid(format!("Duplicate mount point: {}", bind.target)));
        }
    }
    Ok(binds)
}

/// `HOST:CONTAINER[:OPTIONS]`.
fn parse_bind(word: &str) -> Result<Bind> {
    let bad = |why: &str| invalid(format!("invalid volume specification: '{word}': {why}"));
    let mut parts = word.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err(bad("expected HOST:CONTAINER[:OPTIONS]"));
    };
    let options: Vec<String> =
        parts.next().into_iter().flat_map(|text| text.split(',')).map(str::to_owned).collect();
    if parts.next().is_some() {
        return Err(bad("too many colons"));
    }
    if !source.starts_with('/') {
        return Err(bad("the host path must be absolute; named volumes do not exist yet"));
    }
    let target = target.trim_end_matches('/');
    if !target.starts_with('/') {
        return Err(bad("the container path must be absolute and not '/'"));
    }
    const KNOWN: [&str; 16] = [
        "ro", "rw", "private", "rprivate", "shared", "rshared", "slave", "rslave", "nosuid", "suid", "nodev",
        "dev", "noexec", "exec", "noatime", "relatime",
    ];
    if let Some(option) = options.iter().find(|option| !KNOWN.contains(&option.as_str())) {
        return Err(bad(&format!("unknown option {option:?}")));
    }
    Ok(Bind { source: source.to_owned(), target: target.to_owned(), options })
}

/// Bytes from `512m`: a number, which may have a fraction, and a unit.
fn parse_memory(word: &str) -> Result<i64> {
    let bad = || invalid(format!("invalid size: '{word}'"));
    let lower = word.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, shift) = match lower.char_indices().last() {
        Some((index, 'k')) => (lower.get(..index), 10),
        Some((index, 'm')) => (lower.get(..index), 20),
        Some((index, 'g')) => (lower.get(..index), 30),
        Some((index, 't')) => (lower.get(..index), 40),
        _ => (Some(lower), 0),
    };
    let number = number.unwrap_or_default();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(bad());
    }
    let parse = |text: &str| text.parse::<i64>().map_err(|_| bad());
    let scale = 10_i64.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let part = if fraction.is_empty() {
        0
    } else {
        ((i128::from(parse(fraction)?) << shift) / i128::from(scale)) as i64
    };
    let bytes =
        parse(whole)?.checked_mul(1 << shift).and_then(|bytes| bytes.checked_add(part)).ok_or_else(bad)?;
    // Docker's bound: less holds not even the runtime's init.
    if bytes < 6 << 20 {
        return Err(invalid("Minimum memory limit allowed is 6MB".to_owned()));
    }
    Ok(bytes)
}

/// Microseconds per 100 ms from a number of processors.
fn parse_cpus(word: &str) -> Result<i64> {
    let cpus: f64 = word.parse().map_err(|_| invalid(format!("invalid number of processors: '{word}'")))?;
    // The kernel takes no quota below 1 ms.
    if !(0.01..=100_000.0).contains(&cpus) {
        return Err(invalid(format!("invalid number of processors: '{word}': expected 0.01 or more")));
    }
    Ok((cpus * 100_000.0).round() as i64)
}

fn invalid(message: String) -> Error {
    Error::new(Kind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_as_the_table_says() {
        for (word, expected) in [
            ("6291456", Some(6 << 20)),
            ("6m", Some(6 << 20)),
            ("64M", Some(64 << 20)),
            ("1g", Some(1 << 30)),
            ("1.5g", Some(3 << 29)),
            ("512mb", Some(512 << 20)),
            ("8192k", Some(8 << 20)),
            ("5m", None),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("99999999999g", None),
        ] {
            assert_eq!(parse_memory(word).ok(), expected, "{word:?}");
        }
        assert_eq!(parse_cpus("1.5").ok(), Some(150_000));
        assert!(parse_cpus("0").is_err() && parse_cpus("NaN").is_err() && parse_cpus("x").is_err());
    }

    #[test]
    fn binds_parse_as_the_table_says() {
        let options = |word| parse_bind(word).ok().map(|bind| bind.options.join(","));
        assert_eq!(options("/a:/b"), Some(String::new()));
        assert_eq!(options("/a:/b:ro"), Some("ro".into()));
        assert_eq!(options("/a:/b:ro,rslave"), Some("ro,rslave".into()));
        for word in ["/a", "a:/b", "/a:b", "/a:/", "/a:/b:huh", "/a:/b:ro:x"] {
            assert_eq!(options(word), None, "{word}");
        }
    }
}
