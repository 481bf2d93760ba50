// Private endpoints with their DNS zones, so that names keep working and nothing is reached over the internet.
param name string
param location string
param tags object
param networkId string
param subnetId string
param deploymentStorageId string
param stateStorageId string
param serviceBusId string
param keyVaultId string

var suffix = environment().suffixes.storage
var zones = [
  'privatelink.blob.${suffix}'
  'privatelink.table.${suffix}'
  'privatelink.servicebus.windows.net'
  'privatelink.vaultcore.azure.net'
]
var endpoints = [
  {
    name: 'deployment-blob'
    target: deploymentStorageId
    groupId: 'blob'
    zone: 0
  }
  {
    name: 'deployment-table'
    target: deploymentStorageId
    groupId: 'table'
    zone: 1
  }
  {
    name: 'state-blob'
    target: stateStorageId
    groupId: 'blob'
    zone: 0
  }
  {
    name: 'state-table'
    target: stateStorageId
    groupId: 'table'
    zone: 1
  }
  {
    name: 'servicebus'
    target: serviceBusId
    groupId: 'namespace'
    zone: 2
  }
  {
    name: 'keyvault'
    target: keyVaultId
    groupId: 'vault'
    zone: 3
  }
]

resource dns 'Microsoft.Network/privateDnsZones@2024-06-01' = [for zone in zones: {
  name: zone
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for index in range(0, length(zones)): {
  parent: dns[index]
  name: 'to-network'
  location: 'global'
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: networkId
    }
  }
}]

resource connections 'Microsoft.Network/privateEndpoints@2025-05-01' = [for endpoint in endpoints: {
  name: 'pe-${name}-${endpoint.name}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: endpoint.name
        properties: {
          privateLinkServiceId: endpoint.target
          groupIds: [
            endpoint.groupId
          ]
        }
      }
    ]
  }
}]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [for index in range(0, length(endpoints)): {
  parent: connections[index]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: endpoints[index].groupId
        properties: {
          privateDnsZoneId: dns[endpoints[index].zone].id
        }
      }
    ]
  }
}]
