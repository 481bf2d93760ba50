// Concord on Azure: everything of one environment in one resource group. Identity only, no keys anywhere.
targetScope = 'resourceGroup'

@description('Short name of the environment; part of every resource name.')
@allowed([
  'dev'
  'test'
  'prod'
])
param environmentName string

@description('Region of everything.')
param location string = resourceGroup().location

@description('Short name of the workload; part of every resource name.')
@minLength(3)
@maxLength(10)
param workload string = 'concord'

@description('Private networking: no public access to storage, Service Bus and Key Vault; Service Bus becomes Premium.')
param privateNetworking bool = false

@description('Addresses of the network, where private networking is chosen: apart from those of what it is peered with.')
param networkAddressSpace string = '10.40.0.0/22'

@description('Addresses of the app: one for each instance and some to spare.')
param appAddresses string = '10.40.0.0/24'

@description('Addresses of the private endpoints.')
param endpointAddresses string = '10.40.1.0/24'

@description('Messaging units of a Premium namespace, see docs/scale.md; without effect on Standard.')
@allowed([
  1
  2
  4
  8
  16
])
param messagingUnits int = 1

@description('Zone redundancy of the plan and of state: what prod has.')
param zoneRedundant bool = false

@description('Concurrent calls that SAP takes from Concord in all, as agreed with the SAP basis team.')
@minValue(8)
@maxValue(8000)
param sapConcurrentCalls int

@description('Instances always ready for checkout and for each message flow. Lanes follow from it: drain the bus before changing it, see docs/scale.md.')
@minValue(1)
@maxValue(20)
param alwaysReadyInstances int = 4

@description('HTTP requests one instance serves at once; the Python default of 1 would be an instance for each checkout.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 64

@description('Memory of an instance in MB.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('SAP gateway, for example https://sap.example.com.')
param sapUrl string

@description('SAP client (Mandant), three digits.')
param sapClient string = '100'

@description('Communication user in SAP.')
param sapUser string

@description('Dataverse organization, for example https://contoso.crm4.dynamics.com.')
param dataverseUrl string

@description('Commerce Scale Unit.')
param commerceRetailUrl string

@description('Finance and Operations.')
param commerceHqUrl string

@description('Inventory Visibility service of the region.')
param inventoryUrl string

@description('Security service that issues Inventory Visibility tokens.')
param inventoryTokenUrl string

@description('Inventory Visibility environment id.')
param inventoryEnvironmentId string

@description('Application (client) id of the Entra app registration that signs people in.')
param peopleClientId string

@description('Object id of the identity that exports the state tables each night; empty for none.')
param exportPrincipalId string = ''

@description('Mail addresses that alerts go to.')
param alertEmails array

@description('Where the runbooks can be read; alerts link to files below it.')
param runbooksUrl string

@description('Messages of a topic that wait at once before somebody is woken: some minutes of the peak.')
@minValue(10)
param backlogMessages int = 1000

@description('Monthly budget in the billing currency.')
@minValue(1)
param monthlyBudget int

@description('First day of the budget, the first of a month: 2026-12-01. It cannot be moved once the budget exists.')
param budgetStart string

@description('Part of all traces that is kept; metrics, and so alerts, count everything. See docs/scale.md for what it costs.')
@allowed([
  '1.0'
  '0.5'
  '0.1'
  '0.05'
  '0.01'
])
param traceRatio string = '1.0'

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

@description('Tags on every resource.')
param tags object = {
  workload: 'concord'
  environment: environmentName
}

var suffix = uniqueString(resourceGroup().id, workload, environmentName)
var baseName = '${workload}-${environmentName}'
var compactName = take('${workload}${environmentName}${suffix}', 20)
// SAP's figure bounds the instances: each of them gets a share of the calls that keeps its eight sessions busy. There
// are never fewer instances than are always ready: checkout and six message flows.
var busyCallsPerInstance = 8
var alwaysReadyGroups = 7
var maximumInstanceCount = min(1000, max(sapConcurrentCalls / busyCallsPerInstance, alwaysReadyGroups * alwaysReadyInstances))
var sapCallsPerInstance = max(1, sapConcurrentCalls / maximumInstanceCount)

module identity 'modules/identity.bicep' = {
  name: 'identity'
  params: {
    name: 'id-${baseName}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: baseName
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    retentionDays: retentionDays
  }
}

module network 'modules/network.bicep' = if (privateNetworking) {
  name: 'network'
  params: {
    name: baseName
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    addressSpace: networkAddressSpace
    appAddresses: appAddresses
    endpointAddresses: endpointAddresses
  }
}

module deploymentStorage 'modules/storage-deployment.bicep' = {
  name: 'storage-deployment'
  params: {
    name: 'd${compactName}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    exportPrincipalId: exportPrincipalId
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: !privateNetworking
  }
}

module stateStorage 'modules/storage-state.bicep' = {
  name: 'storage-state'
  params: {
    name: 's${compactName}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    exportPrincipalId: exportPrincipalId
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: !privateNetworking
    zoneRedundant: zoneRedundant
  }
}

module serviceBus 'modules/servicebus.bicep' = {
  name: 'servicebus'
  params: {
    name: 'sb-${baseName}-${suffix}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    premium: privateNetworking
    messagingUnits: messagingUnits
  }
}

module keyVault 'modules/keyvault.bicep' = {
  name: 'keyvault'
  params: {
    name: 'kv${compactName}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    workspaceId: monitoring.outputs.workspaceId
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
  }
}

module endpoints 'modules/private-endpoints.bicep' = if (privateNetworking) {
  name: 'private-endpoints'
  params: {
    name: baseName
    location: location
    tags: tags
    networkId: privateNetworking ? network.outputs.id : ''
    subnetId: privateNetworking ? network.outputs.endpointsSubnetId : ''
    deploymentStorageId: deploymentStorage.outputs.id
    stateStorageId: stateStorage.outputs.id
    serviceBusId: serviceBus.outputs.id
    keyVaultId: keyVault.outputs.id
  }
}

module app 'modules/functionapp.bicep' = {
  name: 'functionapp'
  params: {
    name: 'func-${baseName}-${suffix}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    workspaceId: monitoring.outputs.workspaceId
    insightsConnectionString: monitoring.outputs.insightsConnectionString
    deploymentStorageName: deploymentStorage.outputs.name
    deploymentContainerUrl: deploymentStorage.outputs.containerUrl
    tablesEndpoint: stateStorage.outputs.tablesEndpoint
    blobsEndpoint: stateStorage.outputs.blobsEndpoint
    serviceBusHost: serviceBus.outputs.host
    keyVaultUri: keyVault.outputs.uri
    peopleClientId: peopleClientId
    subnetId: privateNetworking ? network.outputs.appSubnetId : ''
    zoneRedundant: zoneRedundant
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    httpConcurrency: httpConcurrency
    traceRatio: traceRatio
    instanceMemoryMB: instanceMemoryMB
    sapUrl: sapUrl
    sapClient: sapClient
    sapUser: sapUser
    sapCallsPerInstance: sapCallsPerInstance
    dataverseUrl: dataverseUrl
    commerceRetailUrl: commerceRetailUrl
    commerceHqUrl: commerceHqUrl
    inventoryUrl: inventoryUrl
    inventoryTokenUrl: inventoryTokenUrl
    inventoryEnvironmentId: inventoryEnvironmentId
  }
  dependsOn: [
    endpoints
  ]
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  params: {
    name: baseName
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    serviceBusId: serviceBus.outputs.id
    stateStorageId: stateStorage.outputs.id
    emails: alertEmails
    backlogMessages: backlogMessages
    runbooksUrl: runbooksUrl
  }
}

module availability 'modules/availability.bicep' = {
  name: 'availability'
  params: {
    name: baseName
    location: location
    tags: tags
    insightsId: monitoring.outputs.insightsId
    host: app.outputs.host
    actionGroupId: alerts.outputs.actionGroupId
    runbooksUrl: runbooksUrl
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    runbooksUrl: runbooksUrl
  }
}

module budget 'modules/budget.bicep' = {
  name: 'budget'
  params: {
    name: 'budget-${baseName}'
    amount: monthlyBudget
    startDate: budgetStart
    emails: alertEmails
  }
}

output functionAppName string = app.outputs.name
output functionAppHost string = app.outputs.host
output keyVaultName string = keyVault.outputs.name
output deploymentStorageName string = deploymentStorage.outputs.name
output stateStorageName string = stateStorage.outputs.name
output serviceBusName string = serviceBus.outputs.name
output identityClientId string = identity.outputs.clientId
