#!/usr/bin/env bash
# Create or update everything of one environment. Look at what-if.sh first.
#   scripts/deploy/create.sh dev
. "$(dirname "$0")/common.sh"
need_environment "${1:-}"
need_group
if placeholders="$(grep -nE 'example|00000000-0000-0000-0000-000000000000' "$PARAMETERS")"; then
  printf '%s\n' "$placeholders" >&2
  stop "$PARAMETERS still holds example values" "set the values of your systems, docs/deploy.md step 3"
fi
NEXT="az deployment operation group list -g $GROUP -n $DEPLOYMENT --query \"[?properties.provisioningState=='Failed'].properties.statusMessage\"; put it right, run this again: it goes on where it stopped"
az deployment group create --resource-group "$GROUP" --name "$DEPLOYMENT" \
  --template-file infra/main.bicep --parameters "@$PARAMETERS" --output none
say "done: $(output_of functionAppHost); next: scripts/deploy/secrets.sh (the first time), then scripts/deploy/package.sh"
