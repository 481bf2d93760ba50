#!/usr/bin/env bash
# Build the package that is published, only what runs, and prove that it stands alone. Prints its digest.
#   scripts/deploy/package.sh
. "$(dirname "$0")/common.sh"
NEXT="make check && make test tell what is wrong with the app"
bash scripts/package.sh
[ -s out/concord.zip ] || stop "scripts/package.sh left no out/concord.zip" "run it alone and read what it says"
say "out/concord.zip $(sha256sum out/concord.zip | cut -c1-16); next: scripts/deploy/publish.sh"
