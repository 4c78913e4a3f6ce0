//! Arguments in, exit code out.

fn main() -> std::process::ExitCode {
    mesh::cli::main()
}
