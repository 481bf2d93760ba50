"""`$metadata`: the EDMX V2 document of a service, generated from its typed model."""

from xml.sax.saxutils import quoteattr

from sandbox.sap.edm import Edm, EntitySet, EntityType, Navigation, Property, Service

_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"'
    ' xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"'
    ' xmlns:sap="http://www.sap.com/Protocols/SAPData"><edmx:DataServices m:DataServiceVersion="2.0">'
)


def edmx(service: Service) -> bytes:
    """The metadata document."""
    types = {entity_set.type.name: entity_set.type for entity_set in service.sets.values()}
    complex_types = {f.returns.name: f.returns for f in service.functions.values() if f.returns.name not in types}
    associations = [(s, n) for s in service.sets.values() for n in s.type.navigations.values()]
    parts = [
        _HEAD,
        f'<Schema Namespace="{service.schema}" xml:lang="en" sap:schema-version="1"'
        ' xmlns="http://schemas.microsoft.com/ado/2008/09/edm">',
        *(_entity_type(service, entity_set) for entity_set in service.sets.values()),
        *(_complex_type(complex_type) for complex_type in complex_types.values()),
        *(_association(service, entity_set, navigation) for entity_set, navigation in associations),
        f'<EntityContainer Name="{service.schema}_Entities" m:IsDefaultEntityContainer="true"'
        ' sap:supported-formats="atom json xlsx">',
        *(_entity_set(service, entity_set) for entity_set in service.sets.values()),
        *(_association_set(service, entity_set, navigation) for entity_set, navigation in associations),
        *(_function(service, name) for name in service.functions),
        "</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>",
    ]
    return "".join(parts).encode()


def _entity_type(service: Service, entity_set: EntitySet) -> str:
    entity_type = entity_set.type
    keys = "".join(f'<PropertyRef Name="{key.name}"/>' for key in entity_type.keys)
    own = "".join(_property(declared) for declared in entity_type.properties.values())
    links = "".join(
        f'<NavigationProperty Name="{n.name}" Relationship="{service.schema}.{_name(entity_set, n)}"'
        f' FromRole="FromRole_{_name(entity_set, n)}" ToRole="ToRole_{_name(entity_set, n)}"/>'
        for n in entity_type.navigations.values()
    )
    return f'<EntityType Name="{entity_type.name}" sap:content-version="1"><Key>{keys}</Key>{own}{links}</EntityType>'


def _complex_type(complex_type: EntityType) -> str:
    own = "".join(_property(declared) for declared in complex_type.properties.values())
    return f'<ComplexType Name="{complex_type.name}">{own}</ComplexType>'


def _property(declared: Property) -> str:
    attributes = {"Name": declared.name, "Type": str(declared.edm)}
    if declared.key:
        attributes["Nullable"] = "false"
    if declared.max_length is not None:
        attributes["MaxLength"] = str(declared.max_length)
    if declared.precision is not None:
        attributes |= {"Precision": str(declared.precision), "Scale": str(declared.scale)}
    if declared.edm in {Edm.DATETIME, Edm.TIME}:
        attributes["Precision"] = "0"
    if declared.edm is Edm.OFFSET:
        attributes["Precision"] = "7"
    if declared.etag:
        attributes["ConcurrencyMode"] = "Fixed"
    if declared.unit:
        attributes["sap:unit"] = declared.unit
    if declared.edm is Edm.DATETIME:
        attributes["sap:display-format"] = "Date"
    if declared.name.endswith("Currency") and declared.edm is Edm.STRING:
        attributes["sap:semantics"] = "currency-code"
    if declared.name.endswith("Unit") and declared.edm is Edm.STRING:
        attributes["sap:semantics"] = "unit-of-measure"
    if not declared.creatable:
        attributes["sap:creatable"] = "false"
    if not declared.updatable and not declared.key:
        attributes["sap:updatable"] = "false"
    return f"<Property{_attributes(attributes)}/>"


def _association(service: Service, entity_set: EntitySet, navigation: Navigation) -> str:
    name, target = _name(entity_set, navigation), service.sets[navigation.target].type.name
    many = "*" if navigation.many else "0..1"
    constraint = "".join(f'<PropertyRef Name="{own}"/>' for own, _ in navigation.on)
    dependent = "".join(f'<PropertyRef Name="{theirs}"/>' for _, theirs in navigation.on)
    referential = (
        f'<ReferentialConstraint><Principal Role="FromRole_{name}">{constraint}</Principal>'
        f'<Dependent Role="ToRole_{name}">{dependent}</Dependent></ReferentialConstraint>'
    )
    return (
        f'<Association Name="{name}" sap:content-version="1">'
        f'<End Type="{service.schema}.{entity_set.type.name}" Multiplicity="1" Role="FromRole_{name}"/>'
        f'<End Type="{service.schema}.{target}" Multiplicity="{many}" Role="ToRole_{name}"/>'
        f"{referential if _constrains(entity_set, navigation) else ''}</Association>"
    )


def _constrains(entity_set: EntitySet, navigation: Navigation) -> bool:
    return navigation.many and [own for own, _ in navigation.on] == [key.name for key in entity_set.type.keys]


def _entity_set(service: Service, entity_set: EntitySet) -> str:
    attributes = {"Name": entity_set.name, "EntityType": f"{service.schema}.{entity_set.type.name}"}
    for name, able in (
        ("creatable", entity_set.create),
        ("updatable", entity_set.update),
        ("deletable", entity_set.delete),
    ):
        if able is None:
            attributes[f"sap:{name}"] = "false"
    if not entity_set.addressable:
        attributes["sap:addressable"] = "false"
    return f'<EntitySet{_attributes(attributes)} sap:content-version="1"/>'


def _association_set(service: Service, entity_set: EntitySet, navigation: Navigation) -> str:
    name = _name(entity_set, navigation)
    return (
        f'<AssociationSet Name="{name}" Association="{service.schema}.{name}" sap:content-version="1">'
        f'<End EntitySet="{entity_set.name}" Role="FromRole_{name}"/>'
        f'<End EntitySet="{navigation.target}" Role="ToRole_{name}"/></AssociationSet>'
    )


def _function(service: Service, name: str) -> str:
    function = service.functions[name]
    returned = f"{service.schema}.{function.returns.name}"
    returns = f"Collection({returned})" if function.many else returned
    parameters = "".join(
        f"<Parameter{_attributes({'Name': p.name, 'Type': str(p.edm), 'Mode': 'In'})}/>" for p in function.parameters
    )
    attributes = {"Name": name, "ReturnType": returns, "m:HttpMethod": function.method}
    return f"<FunctionImport{_attributes(attributes)}>{parameters}</FunctionImport>"


def _name(entity_set: EntitySet, navigation: Navigation) -> str:
    return f"assoc_{entity_set.name}_{navigation.name}"


def _attributes(attributes: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
