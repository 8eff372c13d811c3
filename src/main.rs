//! The standalone host: one executable that embeds CPython and runs the same server as the wheel.
//!
//! Promise: it uses the packages of the active virtual environment (`VIRTUAL_ENV`) and needs no installed `plugincore`
//! package, since the Python half is inside the executable. Caveat: it is bound to the Python version that it was built
//! for; an environment of another version is refused with a clear text.

use std::process::ExitCode;

fn main() -> ExitCode {
    plugincore::main()
}
