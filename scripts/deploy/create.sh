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

# Azure gives a new subscription a rule that takes everything. It goes when another is added; that is made sure of,
# because with it each flow would get every flow's messages.
bus="$(output_of serviceBusName)"
for topic in orders changes; do
  NEXT="az servicebus topic subscription rule list -g $GROUP --namespace-name $bus --topic-name $topic --subscription-name <flow>: delete \$Default where it stands, before publishing"
  flows="$(az servicebus topic subscription list --resource-group "$GROUP" --namespace-name "$bus" --topic-name "$topic" --query "[].name" --output tsv)"
  for flow in $flows; do
    all="$(az servicebus topic subscription rule list --resource-group "$GROUP" --namespace-name "$bus" --topic-name "$topic" --subscription-name "$flow" --query "[?name=='\$Default'].name" --output tsv)"
    if [ -n "$all" ]; then
      az servicebus topic subscription rule delete --resource-group "$GROUP" --namespace-name "$bus" --topic-name "$topic" --subscription-name "$flow" --name "\$Default"
      say "$topic/$flow: the rule that takes everything is gone"
    fi
  done
done
say "done: $(output_of functionAppHost); next: scripts/deploy/secrets.sh (the first time), then scripts/deploy/package.sh"
