// What wakes somebody: every alert names its runbook and goes to one action group.
param name string
param location string
param tags object
param workspaceId string
param serviceBusId string
param stateStorageId string
param emails array
@description('Messages of a topic that wait at once before somebody is woken.')
param backlogMessages int
@description('Where the runbooks can be read, without a slash at its end.')
param runbooksUrl string

// A query returns one row for each thing to act on and none while all is well: the rule fires on the first row.
var queryAlerts = [
  {
    name: 'oldest-message'
    title: 'A flow is behind: its oldest message waits too long'
    severity: 2
    frequency: 'PT5M'
    window: 'PT15M'
    runbook: 'sap-down.md'
    query: loadTextContent('../queries/oldest-message.kql')
  }
  {
    name: 'failures'
    title: 'A flow fails more than it may'
    severity: 2
    frequency: 'PT5M'
    window: 'PT15M'
    runbook: 'sap-down.md'
    query: loadTextContent('../queries/failures.kql')
  }
  {
    name: 'credit-check-p95'
    title: 'Checkouts wait too long for their credit check'
    severity: 1
    frequency: 'PT5M'
    window: 'PT15M'
    runbook: 'sap-down.md'
    query: loadTextContent('../queries/credit-check-p95.kql')
  }
  {
    name: 'open-cases'
    title: 'Cases wait for a person'
    severity: 3
    frequency: 'PT15M'
    window: 'PT1H'
    runbook: 'dead-letters.md'
    query: loadTextContent('../queries/open-cases.kql')
  }
  {
    name: 'parked-keys'
    title: 'Keys stay parked'
    severity: 2
    frequency: 'PT15M'
    window: 'PT1H'
    runbook: 'dead-letters.md'
    query: loadTextContent('../queries/parked-keys.kql')
  }
  {
    name: 'throttling'
    title: 'A remote system throttles Concord'
    severity: 3
    frequency: 'PT5M'
    window: 'PT15M'
    runbook: 'dataverse-throttling.md'
    query: loadTextContent('../queries/throttling.kql')
  }
]
var metricAlerts = [
  {
    name: 'dead-letters'
    title: 'A message is in a dead-letter queue: no retry brings it back by itself'
    severity: 1
    target: serviceBusId
    metricNamespace: 'Microsoft.ServiceBus/namespaces'
    metric: 'DeadletteredMessages'
    aggregation: 'Maximum'
    threshold: 0
    dimension: 'EntityName'
    values: [
      '*'
    ]
    runbook: 'dead-letters.md'
  }
  {
    // an app that is down tells nothing about itself: the bus does
    name: 'bus-backlog'
    title: 'Messages pile up: nothing takes them, or too slowly'
    severity: 1
    target: serviceBusId
    metricNamespace: 'Microsoft.ServiceBus/namespaces'
    metric: 'ActiveMessages'
    aggregation: 'Minimum'
    threshold: backlogMessages
    dimension: 'EntityName'
    values: [
      '*'
    ]
    runbook: 'sap-down.md'
  }
  {
    name: 'bus-throttling'
    title: 'The bus throttles: more messages than its tier takes'
    severity: 2
    target: serviceBusId
    metricNamespace: 'Microsoft.ServiceBus/namespaces'
    metric: 'ThrottledRequests'
    aggregation: 'Total'
    threshold: 10
    dimension: 'EntityName'
    values: [
      '*'
    ]
    runbook: 'scaling-past-one-region.md'
  }
  {
    name: 'table-throttling'
    title: 'The state tables throttle: a partition or the account is at its limit'
    severity: 2
    target: stateStorageId
    metricNamespace: 'Microsoft.Storage/storageAccounts'
    metric: 'Transactions'
    aggregation: 'Total'
    threshold: 10
    dimension: 'ResponseType'
    values: [
      'ServerBusyError'
      'ClientThrottlingError'
    ]
    runbook: 'scaling-past-one-region.md'
  }
]

resource operations 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${name}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'concord-ops'
    enabled: true
    emailReceivers: [for index in range(0, length(emails)): {
      name: 'operations-${index}'
      emailAddress: emails[index]
      useCommonAlertSchema: true
    }]
  }
}

resource queryRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in queryAlerts: {
  name: '${name}-${alert.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${name}: ${alert.title}'
    description: '${alert.title}. Runbook: ${runbooksUrl}/${alert.runbook}'
    severity: alert.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: alert.frequency
    windowSize: alert.window
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: alert.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [
        operations.id
      ]
      customProperties: {
        runbook: '${runbooksUrl}/${alert.runbook}'
      }
    }
  }
}]

resource metricRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [for alert in metricAlerts: {
  name: '${name}-${alert.name}'
  location: 'global'
  tags: tags
  properties: {
    description: '${alert.title}. Runbook: ${runbooksUrl}/${alert.runbook}'
    severity: alert.severity
    enabled: true
    scopes: [
      alert.target
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: alert.name
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: alert.metricNamespace
          metricName: alert.metric
          timeAggregation: alert.aggregation
          operator: 'GreaterThan'
          threshold: alert.threshold
          dimensions: [
            {
              name: alert.dimension
              operator: 'Include'
              values: alert.values
            }
          ]
        }
      ]
    }
    actions: [
      {
        actionGroupId: operations.id
        webHookProperties: {
          runbook: '${runbooksUrl}/${alert.runbook}'
        }
      }
    ]
  }
}]

output actionGroupId string = operations.id
