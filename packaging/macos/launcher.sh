#!/bin/sh
# Started by the Finder, without a terminal. A .command file opens in the terminal that the person
# chose for them (Terminal, unless another one took that over), and asks for no permission to
# control it, as AppleScript would.
exec open "$(cd "$(dirname "$0")/../Resources" && pwd)/corral.command"
