"""The rules of the house, held against the code, and against misdeeds to see that they watch."""

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from house import LONGEST_FILE, LONGEST_FUNCTION, RULES, House, violations

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    """What the code breaks, by rule."""
    return violations(ROOT)


@pytest.mark.parametrize("rule", RULES)
def test_the_code_keeps_the_rule(rule: str, found: dict[str, list[str]]) -> None:
    assert found.get(rule, []) == []


def test_methods_are_found() -> None:
    assert {"tumorgen/methods/vqgan", "tumorgen/methods/transformer"} <= set(House(ROOT).methods)


# ------------------------------------------------------------------ the rules themselves

MODULE = "from tumorgen.methods.method import Method\n\n\nclass {name}(Method):\n    size: int = 3\n"
EXPERIMENT = "system:\n  name: {name}\n  title: Its title\n  source: Its source\nmodel:\n  class_path: tumorgen.methods.{model}\n"
HOUSE = {
    "data_modules/base.py": "class ROIDataModule:\n    augmentation = None\n",
    "tumorgen/types.py": "Volume = Shape['D H W']\n",
    "tumorgen/nn/blocks.py": "import torch\n",
    "tumorgen/metrics/mmd.py": "from tumorgen.types import Volume\n",
    "tumorgen/methods/method.py": "import lightning as L\n\n\nclass Method(L.LightningModule):\n    monitor = None\n",
    "tumorgen/methods/loading.py": "import lightning as L\n",
    "tumorgen/methods/vqgan/module.py": MODULE.format(name="VQGAN"),
    "tumorgen/methods/vqgan/tokenizer.py": "from tumorgen.methods.loading import build\n",
    "tumorgen/methods/published/names.py": "import lightning\nfrom tumorgen.methods.vqgan import module\n",
    "tumorgen/methods/toy/module.py": (
        "import lightning as L\nfrom tumorgen.methods.vqgan.tokenizer import Tokenizer\nfrom .network import Net\n\n\n"
        "class Toy(L.LightningModule):\n    def __init__(self, width: int = 8) -> None:\n        self.width = width\n"
    ),
    "tumorgen/methods/toy/network.py": "import torch\nfrom tumorgen.nn import blocks\n\n\nclass Net:\n    pass\n",
    "tumorgen/methods/pair/stage1/module.py": MODULE.format(name="First"),
    "tumorgen/methods/pair/stage2/module.py": MODULE.format(name="Second"),
    "experiments/vqgan.yaml": EXPERIMENT.format(name="vqgan", model="vqgan.module.VQGAN"),
    "experiments/toy.yaml": EXPERIMENT.format(name="toy", model="toy.module.Toy") + "  init_args:\n    width: 16\n",
    "experiments/pair/first.yaml": EXPERIMENT.format(name="first", model="pair.stage1.module.First"),
    "experiments/pair/second.yaml": EXPERIMENT.format(name="second", model="pair.stage2.module.Second"),
    "experiments/pair/small.yaml": "system:\n  title: A small pair\n",
}
"""The smallest house in which every rule has something to look at."""

NETWORK, TOY, RUNS = "tumorgen/methods/toy/network.py", "tumorgen/methods/toy/module.py", "tumorgen/runs/look.py"
TOY_YAML = "experiments/toy.yaml"
LOOP = (
    "def {name}(cases: list) -> int:\n    total = 0\n    for case in cases:\n        total += case\n    return total\n"
)


def long_function(lines: int) -> str:
    return "def f() -> None:\n" + "    print()\n" * (lines - 1)


# (rule, file, text): the text is put before what the file holds; {} stands for what it holds
MISDEEDS = [
    ("only_modules_import_lightning", NETWORK, "import lightning as L\n"),
    ("only_modules_import_lightning", NETWORK, "def late() -> None:\n    from lightning.pytorch import Trainer\n"),
    ("only_modules_import_lightning", "tumorgen/methods/toy/__init__.py", "import pytorch_lightning\n"),
    ("only_modules_import_lightning", "tumorgen/methods/toy/deeper/module.py", "import lightning_fabric\n"),
    ("only_modules_import_lightning", "tumorgen/methods/pair/module_of_both.py", "import lightning\n"),
    ("only_modules_import_lightning", "tumorgen/nn/blocks.py", "from lightning import LightningModule\n"),
    ("only_modules_import_lightning", "tumorgen/metrics/deep/fid.py", "import lightning.fabric\n"),
    ("only_modules_import_lightning", "tumorgen/classifier/networks.py", "import lightning\n"),
    ("methods_meet_in_the_tokenizer_only", TOY, "from tumorgen.methods.vqgan.module import VQGAN\n"),
    ("methods_meet_in_the_tokenizer_only", TOY, "from tumorgen.methods.vqgan import module\n"),
    ("methods_meet_in_the_tokenizer_only", TOY, "from ..vqgan import module as other\n"),
    ("methods_meet_in_the_tokenizer_only", NETWORK, "import tumorgen.methods.pair.stage1.module\n"),
    (
        "methods_meet_in_the_tokenizer_only",
        NETWORK,
        "import importlib\nimportlib.import_module('tumorgen.methods.vqgan')\n",
    ),
    ("methods_meet_in_the_tokenizer_only", NETWORK, "from tumorgen.methods.loading import build\n"),
    ("methods_meet_in_the_tokenizer_only", NETWORK, "from tumorgen.methods.method import Method\n"),
    ("methods_meet_in_the_tokenizer_only", TOY, "from tumorgen.baselines.ddpm import network\n"),
    ("methods_meet_in_the_tokenizer_only", TOY, "import tumorgen.evaluation.callback\n"),
    ("methods_live_under_methods", "tumorgen/baselines/ddpm/module.py", MODULE.format(name="DDPM")),
    ("methods_live_under_methods", NETWORK, "class Hidden(base.LightningModule):\n    size: int = 3\n"),
    ("methods_live_under_methods", "data_modules/model.py", "class Model(Generator[int]):\n    size: int = 3\n"),
    ("methods_have_a_module", "tumorgen/methods/flow/network.py", "import torch\n"),
    ("methods_have_a_module", "tumorgen/methods/flow/stage1/training.py", "import torch\n"),
    ("shared_rooms_know_no_method", "tumorgen/nn/blocks.py", "from tumorgen.methods.toy.network import Net\n"),
    (
        "shared_rooms_know_no_method",
        "tumorgen/metrics/mmd.py",
        "def late() -> None:\n    import tumorgen.methods.toy\n",
    ),
    ("shared_rooms_know_no_method", "tumorgen/metrics/mmd.py", "from tumorgen.evaluation import callback\n"),
    ("data_modules_never_import_tumorgen", "data_modules/base.py", "from tumorgen.types import Volume\n"),
    ("data_modules_never_import_tumorgen", "data_modules/base.py", "import tumorgen\n"),
    (
        "data_modules_never_import_tumorgen",
        "data_modules/deep/er.py",
        "def late() -> None:\n    from tumorgen import nn\n",
    ),
    ("files_are_read_without_executing_them", RUNS, "torch.load(path, map_location='cpu')\n"),
    ("files_are_read_without_executing_them", RUNS, "torch.load(f(path), weights_only=False)\n"),
    ("files_are_read_without_executing_them", RUNS, "from torch import load as read\nread(path)\n"),
    ("files_are_read_without_executing_them", RUNS, "np.load(path, allow_pickle=True)\n"),
    ("files_are_read_without_executing_them", RUNS, "import pickle\npickle.loads(content)\n"),
    ("files_are_read_without_executing_them", RUNS, "yaml.load(text)\n"),
    ("no_contract_by_getattr", RUNS, "monitor = getattr(model, 'monitor', None)\n"),
    ("no_contract_by_getattr", RUNS, "fold = getattr(trainer.datamodule, 'fold', None)\n"),
    ("no_contract_by_getattr", RUNS, "known = hasattr(trainer, 'datamodule')\n"),
    ("no_contract_by_getattr", RUNS, "options = [getattr(found, name, ()) for name in names]\n"),
    ("no_contract_by_getattr", "data_modules/select.py", "names = getattr(dataset, 'names', [])\n"),
    ("no_contract_by_getattr", RUNS, "try:\n    model.monitor\nexcept AttributeError:\n    pass\n"),
    ("sizes_stay_readable", RUNS, "print()\n" * (LONGEST_FILE + 1)),
    ("sizes_stay_readable", RUNS, long_function(LONGEST_FUNCTION + 1)),
    ("sizes_stay_readable", RUNS, "async " + long_function(LONGEST_FUNCTION + 1)),
    ("no_function_stands_twice", RUNS, LOOP.format(name="total") + LOOP.format(name="summed")),
    ("no_constant_stands_twice", RUNS, "Volume = Shape['D H W']\n"),
    ("every_method_has_an_experiment", "tumorgen/methods/flow/module.py", MODULE.format(name="Flow")),
    ("every_method_has_an_experiment", "tumorgen/methods/toy/stage2/module.py", MODULE.format(name="Later")),
    ("every_system_has_one_name", "experiments/other.yaml", EXPERIMENT.format(name="toy", model="toy.module.Toy")),
    ("every_system_has_one_name", "experiments/other.yaml", "model:\n  class_path: tumorgen.methods.toy.module.Toy\n"),
    ("experiments_name_classes_that_exist", TOY_YAML, "data: {class_path: data_modules.gone.Gone}\n{}"),
    ("experiments_name_classes_that_exist", TOY_YAML, "trainer: [{class_path: torch.optim.Adamm}]\n{}"),
    ("experiments_hold_differences_only", TOY_YAML, "{}    width: 8\n"),
]


@pytest.fixture
def house(tmp_path: Path) -> Callable[[str, str], Path]:
    """`house(file, text)`: the smallest house, with a text added to one file."""

    def build(file: str = "", text: str = "") -> Path:
        files = HOUSE | (
            {file: text.replace("{}", HOUSE.get(file, "")) if "{}" in text else text + HOUSE.get(file, "")}
            if file
            else {}
        )
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return tmp_path

    return build


def test_the_smallest_house_keeps_every_rule(house: Callable[..., Path]) -> None:
    root = house()
    assert violations(root) == {}
    assert House(root).methods == {
        "tumorgen/methods/pair": ("stage1/module.py", "stage2/module.py"),
        "tumorgen/methods/toy": ("module.py",),
        "tumorgen/methods/vqgan": ("module.py",),
    }


@pytest.mark.parametrize(("rule", "file", "text"), MISDEEDS)
def test_a_misdeed_is_reported_by_its_rule_alone(rule: str, file: str, text: str, house: Callable[..., Path]) -> None:
    found = violations(house(file, text))
    assert list(found) == [rule], found
    (message,) = found[rule]
    assert file in message or file.startswith(message.split(":")[0])


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in MISDEEDS} == set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "value = getattr(model, 'monitor')\n",
        "import os\ncores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else 1\n",
        "plain = section.as_dict() if hasattr(section, 'as_dict') else section\n",
        "torch.load(path, map_location='cpu', weights_only=True)\n",
        long_function(LONGEST_FUNCTION),
        "VERSION = 1\n",
        "Alias = tuple[slice, slice]\n",
    ],
)
def test_what_is_right_is_not_reported(text: str, house: Callable[..., Path]) -> None:
    assert violations(house(RUNS, text)) == {}


# ------------------------------------------------------------------ the front door, and this machine


def test_nothing_in_the_tree_names_this_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for file in listed:
        path = ROOT / file
        if path.suffix in (".py", ".yaml", ".yml", ".toml", ".md", ".cff", ".txt") or path.name in ("Makefile", "run"):
            text = path.read_text()
            assert not re.search(r"(?<![\w.])/(work|root|home)/\w", text), file


def test_help_imports_no_torch_and_is_fast() -> None:
    seconds = []
    for _ in range(5):
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "tumorgen", "--help"]
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time: the clock on the wall also counts the tests that run beside this one
        seconds.append(end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime)
    assert "fit" in out.stdout
    assert "reconstruct" in out.stdout
    assert min(seconds) < 0.1, seconds
    probe = "import sys, tumorgen.__main__ as m; m.main(['--help']); assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, check=True)


def test_front_door_is_standard_library_only() -> None:
    (front,) = (source for source in House(ROOT).sources if source.name == "tumorgen/__main__.py")
    top = {alias.name for node in front.tree.body if isinstance(node, ast.Import) for alias in node.names}
    top |= {node.module for node in front.tree.body if isinstance(node, ast.ImportFrom) and node.module}
    assert {module.split(".")[0] for module in top} <= set(sys.stdlib_module_names)
