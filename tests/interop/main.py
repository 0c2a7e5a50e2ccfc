"""A small second implementation of xp2p, made from docs/PROTOCOL.md alone. README.md says how to run it."""

import argparse
import sys
from pathlib import Path

import vectors
import viewer
from codec import Malformed
from document import Document
from info import Capability, Info, InfoText, Rights
from keys import from_base64url, public_bytes, secret_key, ticket, ticket_nonce
from relay import NoWay
from session import Lost

VERSION = "2.4.0"


def check_vectors(args: argparse.Namespace) -> None:
    """Checks the document."""
    print(f"{vectors.check(Document.read(args.document))} vectors")


def make_info(args: argparse.Namespace) -> None:
    """Makes an xp2pInfo for the server of another one, with nothing of the camera but its secret key."""
    secret = secret_key(from_base64url(sys.stdin.readline().strip()))
    servers = InfoText.parse(args.like.read_text().strip()).info.servers
    key = public_bytes(secret)
    capability = Capability.issue(secret, args.rights, args.epoch, args.expiry, b"interop!")
    info = Info(key, ticket(key, ticket_nonce(secret, args.epoch)), servers, (), capability)
    print(InfoText(info, VERSION))


def view(args: argparse.Namespace) -> None:
    """Watches."""
    info = InfoText.parse(args.info.read_text().strip()).info
    print(viewer.summary_json(viewer.watch(info, args.out, args.groups)))


def arguments() -> argparse.Namespace:
    """What to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    sub = commands.add_parser("vectors", help="check all test vectors of PROTOCOL.md")
    sub.add_argument("document", type=Path)
    sub.set_defaults(run=check_vectors)
    sub = commands.add_parser("info", help="make an xp2pInfo of a secret key (base64url, on standard input)")
    sub.add_argument("--like", type=Path, required=True, help="file with an xp2pInfo of the same server")
    sub.add_argument(
        "--rights", type=lambda text: Rights(int(text)), default=Rights.LIVE, help="sum of bits, default 1"
    )
    sub.add_argument("--epoch", type=int, default=0)
    sub.add_argument("--expiry", type=int, default=0, help="unix seconds, 0 for never")
    sub.set_defaults(run=make_info)
    sub = commands.add_parser("view", help="record live video over the relay, and print what came as JSON")
    sub.add_argument("info", type=Path, help="file with the camera's xp2pInfo")
    sub.add_argument("out", type=Path, help="FLV file to write")
    sub.add_argument("--groups", type=int, default=3, help="how many whole groups of pictures")
    sub.set_defaults(run=view)
    return parser.parse_args()


def main() -> int:
    """Returns the exit code."""
    args = arguments()
    try:
        args.run(args)
    except (Malformed, Lost, NoWay, viewer.Refused, vectors.Wrong) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
