//! `wharf`: prints the one error and turns it into the exit code; everything else is the library's.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let code = match wharf::cli::run() {
        Ok(code) => code,
        Err(error) => {
            // If even stderr is closed, the code has to say it all.
            let said = writeln!(std::io::stderr(), "wharf: {error}");
            if said.is_ok() { error.kind().exit_code() } else { 125 }
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
