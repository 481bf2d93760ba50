#!/usr/bin/env bash
# Once for a subscription and a group: the resource providers Concord needs, and the resource group.
#   AZURE_RESOURCE_GROUP=rg-concord-dev AZURE_LOCATION=westeurope scripts/deploy/prepare.sh
. "$(dirname "$0")/common.sh"
need_group
[ -n "${AZURE_LOCATION:-}" ] || stop "AZURE_LOCATION is not set" "export AZURE_LOCATION=westeurope, or another region that has Flex Consumption (az functionapp list-flexconsumption-locations)"

for provider in Microsoft.App Microsoft.Authorization Microsoft.Consumption Microsoft.Insights Microsoft.KeyVault \
  Microsoft.ManagedIdentity Microsoft.Network Microsoft.OperationalInsights Microsoft.ServiceBus Microsoft.Storage Microsoft.Web; do
  say "provider $provider"
  az provider register --namespace "$provider" --wait --output none
done
say "group $GROUP in $AZURE_LOCATION"
az group create --name "$GROUP" --location "$AZURE_LOCATION" --tags workload=concord --output none
say "done; next: scripts/deploy/what-if.sh <environment>"
