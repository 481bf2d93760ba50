// Is the app there, seen from outside: other regions ask for its health every five minutes.
param name string
param location string
param tags object
param insightsId string
param host string
param actionGroupId string
@description('Where the runbooks can be read, without a slash at its end.')
param runbooksUrl string

// Application Insights' own names of the places that ask.
var places = [
  'emea-nl-ams-azr'
  'emea-gb-db3-azr'
  'emea-fr-pra-edge'
  'us-va-ash-azr'
  'apac-sg-sin-azr'
]

resource probe 'Microsoft.Insights/webtests@2022-06-15' = {
  name: 'probe-${name}'
  location: location
  tags: union(tags, {
    'hidden-link:${insightsId}': 'Resource'
  })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: 'probe-${name}'
    Name: '${name} health'
    Enabled: true
    Kind: 'standard'
    Frequency: 300
    Timeout: 30
    RetryEnabled: true
    Locations: [for place in places: {
      Id: place
    }]
    Request: {
      RequestUrl: 'https://${host}/api/health'
      HttpVerb: 'GET'
      ParseDependentRequests: false
      FollowRedirects: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: 14
    }
  }
}

resource appDown 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-app-down'
  location: 'global'
  tags: tags
  properties: {
    description: 'The app does not answer, or says that it is not well. Runbook: ${runbooksUrl}/disaster-recovery.md'
    severity: 0
    enabled: true
    scopes: [
      probe.id
      insightsId
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: probe.id
      componentId: insightsId
      failedLocationCount: 3
    }
    actions: [
      {
        actionGroupId: actionGroupId
        webHookProperties: {
          runbook: '${runbooksUrl}/disaster-recovery.md'
        }
      }
    ]
  }
}
