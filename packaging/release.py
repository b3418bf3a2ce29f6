"""Makes a release, one step after the other; each can be run again.

    python packaging/release.py check                   what has to be so before
    python packaging/release.py roll 0.2.0              changelog and version
    python packaging/wheelhouse.py WHEELS --engine …    the wheels it needs; asks the package index
    python packaging/release.py build --wheels WHEELS --out dist
    python packaging/release.py sums dist
    python packaging/release.py sign dist --key ~/.ssh/id_ed25519
    python packaging/release.py verify dist --signers allowed_signers

No step commits, tags or uploads anything. Only two ask the package index: `check`, for the lock and
not with --offline, and `build` with --bundle.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import product  # noqa: E402
import sums  # noqa: E402
from releasing import building, changelog, checks, rolling, signing, verifying  # noqa: E402

Check = Callable[[Path], Iterator[str]]

CHECKS: dict[str, Check] = {
    "versions agree": checks.versions,
    "AppStream names this release": checks.desktop,
    "everything is committed": checks.clean,
    "no registry's host, no machine's path": checks.leaks,
    "README and manual say what the program does": checks.manuals,
}
LOCK = "the lock is fresh"


def check(options: argparse.Namespace) -> int:
    todo = dict(CHECKS)
    if options.tag:
        todo[f"{options.tag} is this version"] = lambda root: checks.tagged(root, options.tag)
    if not options.offline:
        todo[LOCK] = checks.lock
    wrong = 0
    for title, one in todo.items():
        try:
            found = list(one(product.ROOT))
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            found = [str(error)]
        _say(title, found)
        wrong += bool(found)
    if options.offline:
        print(f"--  {LOCK}: not looked at, it needs the package index")
    return 1 if wrong else 0


def roll(options: argparse.Namespace) -> int:
    changed = rolling.roll(product.ROOT, options.version, options.date)
    print(f"{', '.join(changed)} say {options.version}, {options.date}. Look at them, then:")
    print(f'  git commit -m "Release {options.version}" {" ".join(changed)}')
    print(f'  git tag -a v{options.version} -m "corral {options.version}"')
    return 0


def notes(options: argparse.Namespace) -> int:
    text = (product.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    print(changelog.current(text).text)
    return 0


def build(options: argparse.Namespace) -> int:
    wanted = building.Wanted(options.deb, options.portable, options.bundle, options.native)
    try:
        made = building.build(options.out, options.wheels, wanted)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{Path(error.cmd[1]).name} failed with code {error.returncode}")
    for path in made:
        print(path)
    return 0


def sum_up(options: argparse.Namespace) -> int:
    # It is of the sums before, and would be taken for one of these.
    (options.folder / sums.SIGNATURE).unlink(missing_ok=True)
    print(sums.write(options.folder))
    return 0


def sign(options: argparse.Namespace) -> int:
    if options.key is None:
        (options.folder / sums.SIGNATURE).unlink(missing_ok=True)
        print("not signed: say --key FILE, a private key of ssh-keygen")
        return 0
    try:
        line = signing.sign(options.folder, options.key.expanduser())
    except (signing.SigningError, OSError) as error:
        sys.exit(f"not signed: {error}")
    print(options.folder / sums.SIGNATURE)
    print("For allowed_signers, where people can trust it:")
    print(line)
    return 0


def verify(options: argparse.Namespace) -> int:
    found = list(verifying.everything(options.folder, options.signers))
    _say(f"{options.folder} is a whole release", found)
    if not found and (options.folder / sums.SIGNATURE).exists():
        print(f"ok  {signing.check(options.folder, options.signers)}")
    elif not found:
        print("--  not signed")
    return 1 if found else 0


def _day(text: str) -> str:
    return datetime.date.fromisoformat(text).isoformat()


def _say(title: str, found: list[str]) -> None:
    print(f"{'NO' if found else 'ok'}  {title}")
    for line in found:
        print(f"      {line}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(required=True, metavar="STEP")

    step = steps.add_parser("check", help="what has to be so before a release")
    step.add_argument("--offline", action="store_true", help="do not ask the package index")
    step.add_argument("--tag", help="this tag is what is released, such as v0.1.0")
    step.set_defaults(run=check)

    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    step = steps.add_parser("roll", help="date the changelog, write the version everywhere")
    step.add_argument("version", help="a higher one than before")
    step.add_argument("--date", type=_day, default=today, help="of the release (today)")
    step.set_defaults(run=roll)

    step = steps.add_parser("notes", help="print what the changelog says of this version")
    step.set_defaults(run=notes)

    step = steps.add_parser("build", help="build what this system can build")
    step.add_argument("--wheels", type=Path, required=True, help="folder of wheelhouse.py")
    step.add_argument("--out", type=Path, required=True, help="where the files go")
    step.add_argument("--deb", action="store_true", help="a Debian package, too")
    step.add_argument("--portable", action="store_true", help="a folder without Python, too")
    step.add_argument(
        "--bundle", metavar="ARGUMENTS", help="an offline bundle, too; --bundle='…' for bundle.py"
    )
    step.add_argument("--native", action="store_true", help="for processors like this one only")
    step.set_defaults(run=build)

    step = steps.add_parser("sums", help="write SHA256SUMS")
    step.add_argument("folder", type=Path)
    step.set_defaults(run=sum_up)

    step = steps.add_parser("sign", help="sign SHA256SUMS with an SSH key")
    step.add_argument("folder", type=Path)
    step.add_argument("--key", type=Path, help="a private key; without one nothing is signed")
    step.set_defaults(run=sign)

    step = steps.add_parser("verify", help="check a finished release")
    step.add_argument("folder", type=Path)
    step.add_argument("--signers", type=Path, help="an allowed_signers file: who may have signed")
    step.set_defaults(run=verify)

    options = parser.parse_args()
    try:
        sys.exit(options.run(options))
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
