"""What a `saved_model.pb` says, read without TensorFlow: signatures, nodes, and what its graph would touch.

Rules upheld here:
- Every length is checked, so a truncated file ends as ValueError.
- Operators that reach files, other processes or Python are refused wherever they are, in the graph or in the
  library of functions. Those that save and restore variables are part of every SavedModel; they are let
  through only where nothing that is called when a model is loaded or run can reach them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_OUTSIDE = re.compile(
    r"(Eager)?PyFunc(Stateless)?|\w*(File|Files|Reader|Dataset|Summary|SummaryWriter|SummaryDbWriter|Rpc)(V\d+)?"
    r"|\w*Reader(Read|Reset|Restore|Serialize)\w*|InitializeTableFromTextFile(V2)?|DebugIdentity\w*|DebugN\w+|PrintV2"
    r"|ImmutableConst|LoadAndRemapMatrix|GenerateVocabRemapping|Write\w*Summary|Create\w*Writer|ImportEvent"
    r"|_?(Host)?(Send|Recv)|RemoteCall|RemoteFusedGraphExecute|Collective\w+"
)
_SAVING = {"SaveV2", "MergeV2Checkpoints", "Save", "SaveSlices"}
_RESTORING = {"RestoreV2", "Restore", "RestoreSlice", "ShardedFilename"}
_OF_CHECKPOINTS = re.compile(r"__inference__traced_(save|restore)_\d+")
_VARIABLES = {"VarHandleOp", "VariableV2", "Variable", "VarHandlesOp"}
_RUN_AT_LOAD = ("saved_model_main_op", "legacy_init_op", "saved_model_init_op", "saved_model_train_op")
Number = int
_BYTES = 2


@dataclass(frozen=True)
class Node:
    """An operation: what it reads, and which functions it calls."""

    name: str
    op: str
    inputs: tuple[str, ...]
    calls: tuple[str, ...]


@dataclass
class MetaGraph:
    """A graph with its library of functions. `first` are the nodes that loading or calling starts from."""

    tags: set[str] = field(default_factory=set)
    nodes: list[Node] = field(default_factory=list)
    functions: dict[str, list[Node]] = field(default_factory=dict)
    signatures: list[str] = field(default_factory=list)
    first: set[str] = field(default_factory=set)
    restore: set[str] = field(default_factory=set)
    objects: bytes = b""

    @property
    def has_variables(self) -> bool:
        return any(node.op in _VARIABLES for node in self._all())

    def outside(self) -> dict[str, str]:
        """Operators that reach out of the graph, each with the first node or function that has it."""
        found: dict[str, str] = {}
        for place, nodes in [("", self.nodes), *self.functions.items()]:
            hidden = _OF_CHECKPOINTS.fullmatch(place) and place.encode() not in self.objects
            forbidden = _SAVING | _RESTORING if place and not hidden else set()
            for node in nodes:
                if node.op in forbidden or (_OUTSIDE.fullmatch(node.op) and node.op not in _RESTORING):
                    found.setdefault(node.op, place or node.name)
        for first, forbidden in ((self.first, _SAVING | _RESTORING), (self.restore, _SAVING)):
            for node in self._reached(first):
                if node.op in forbidden:
                    found.setdefault(node.op, node.name)
        return found

    def _reached(self, names: Iterable[str]) -> Iterator[Node]:
        """All nodes that the named ones need, functions included."""
        by_name = {node.name: node for node in self.nodes}
        waiting, seen, called = list(names), set(names), set[str]()
        while waiting:
            node = by_name.get(waiting.pop())
            if node is None:
                continue
            yield node
            news = {reference.lstrip("^").split(":")[0] for reference in node.inputs} - seen
            seen |= news
            waiting += news
            called |= set(node.calls)
        yield from self._called(called)

    def _called(self, names: set[str]) -> Iterator[Node]:
        waiting = list(names)
        while waiting:
            for node in self.functions.get(waiting.pop(), ()):
                yield node
                news = set(node.calls) - names
                names |= news
                waiting += news

    def _all(self) -> Iterator[Node]:
        yield from self.nodes
        for nodes in self.functions.values():
            yield from nodes


def read(content: bytes) -> list[MetaGraph]:
    """The graphs of a SavedModel. Raises ValueError where the file is not whole."""
    found = [_meta_graph(part) for number, part in _parts(memoryview(content)) if number == 2]
    if not found:
        raise ValueError("it has no graph")
    return found


def _meta_graph(view: memoryview) -> MetaGraph:
    graph = MetaGraph()
    for number, part in _parts(view):
        if number == 1:
            graph.tags |= {_text(tag) for inner, tag in _parts(part) if inner == 4}
        elif number == 2:
            _graph(part, graph)
        elif number == 3:
            graph.restore |= {_text(name) for inner, name in _parts(part) if inner == 3}
        elif number == 4:
            _collection(part, graph)
        elif number == 5:
            _signature(part, graph)
        elif number == 7:
            graph.objects = bytes(part)
    return graph


def _graph(view: memoryview, graph: MetaGraph) -> None:
    for number, part in _parts(view):
        if number == 1:
            graph.nodes.append(_node(part))
        elif number == 2:
            for inner, function in _parts(part):
                if inner == 1:
                    name = _first(_first(function, 1), 1)
                    graph.functions[_text(name)] = [_node(node) for at, node in _parts(function) if at == 3]


def _node(view: memoryview) -> Node:
    name = op = ""
    inputs: list[str] = []
    calls: list[str] = []
    for number, part in _parts(view):
        if number == 1:
            name = _text(part)
        elif number == 2:
            op = _text(part)
        elif number == 3:
            inputs.append(_text(part))
        elif number == 5:
            calls += _calls(_first(part, 2))
    return Node(name, op, tuple(inputs), tuple(calls))


def _calls(value: memoryview) -> Iterator[str]:
    """Names of functions in the value of an attribute."""
    for number, part in _parts(value):
        if number == 10:
            yield _text(_first(part, 1))
        elif number == 1:
            yield from (_text(_first(function, 1)) for inner, function in _parts(part) if inner == 9)


def _signature(entry: memoryview, graph: MetaGraph) -> None:
    name = _text(_first(entry, 1))
    for number, end in _parts(_first(entry, 2)):
        if number in (1, 2):
            graph.first.add(_text(_first(_first(end, 2), 1)).split(":")[0])
    if not name.startswith("__saved_model"):
        graph.signatures.append(name)


def _collection(entry: memoryview, graph: MetaGraph) -> None:
    if _text(_first(entry, 1)) in _RUN_AT_LOAD:
        for number, part in _parts(_first(entry, 2)):
            if number == 1:
                graph.first |= {_text(name).split(":")[0] for inner, name in _parts(part) if inner == 1}


def _first(view: memoryview, number: Number) -> memoryview:
    return next((part for found, part in _parts(view) if found == number), memoryview(b""))


def _text(view: memoryview) -> str:
    return bytes(view).decode(errors="replace")


def _parts(view: memoryview) -> Iterator[tuple[Number, memoryview]]:
    """The fields of a message that have a length; numbers are passed over."""
    at, end = 0, len(view)
    while at < end:
        key, at = _varint(view, at)
        wire = key & 7
        if wire == _BYTES:
            size, at = _varint(view, at)
            if at + size > end:
                raise ValueError("it ends too early")
            yield key >> 3, view[at : at + size]
            at += size
        elif wire == 0:
            _, at = _varint(view, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError("it is not a SavedModel")
    if at > end:
        raise ValueError("it ends too early")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("it ends too early")
        byte = view[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
