import pytest
import torch

from data_modules.errors import InputError
from tumorgen.methods.transformer.vocabulary import TokenSequence, Vocabulary, check_grid


def test_published_layout():
    vocabulary = Vocabulary(num_codes=512, num_classes=2)
    assert (vocabulary.mask_token, vocabulary.class_token(0), vocabulary.class_token(1)) == (512, 513, 514)
    assert vocabulary.size == 515


def test_no_class_token_comes_last_and_only_when_asked_for():
    assert Vocabulary(512, 2, unconditional=True).no_class_token == 515
    assert Vocabulary(512, 2, unconditional=True).size == 516
    with pytest.raises(InputError, match="class dropout"):
        _ = Vocabulary(512, 2).no_class_token


@pytest.mark.parametrize("label", [-1, 2])
def test_unknown_class_is_refused(label):
    with pytest.raises(InputError, match="classes 0 to 1"):
        Vocabulary(512, 2).class_token(label)


def test_condition_agrees_with_class_tokens():
    vocabulary = Vocabulary(10, 3, unconditional=True)
    labels = torch.tensor([2, 0, 1])
    expected = [[vocabulary.class_token(label)] for label in labels.tolist()]
    assert vocabulary.condition(labels).tolist() == expected
    dropped = vocabulary.condition(labels, dropped=torch.tensor([False, True, False]))
    assert dropped.tolist() == [expected[0], [vocabulary.no_class_token], expected[2]]
    with pytest.raises(InputError):
        Vocabulary(10, 3).condition(labels, dropped=torch.tensor([False, True, False]))


def test_code_logits_leave_out_everything_that_is_no_code():
    assert Vocabulary(4, 2).code_logits(torch.arange(7.0)).tolist() == [0, 1, 2, 3]


def test_causal_sequence_predicts_the_next_token():
    sequence = TokenSequence(length=4, causal=True)
    inputs = sequence.inputs(torch.tensor([[9]]), torch.tensor([[1, 2, 3, 4]]))
    assert inputs.tolist() == [[9, 1, 2, 3]]
    assert sequence.positions == inputs.shape[1] == 4
    assert sequence.of_tokens(inputs[..., None])[..., 0].tolist() == [[9, 1, 2, 3]]  # class -> 1, 1 -> 2, ...


def test_bidirectional_sequence_predicts_each_token_in_its_place():
    sequence = TokenSequence(length=4, causal=False)
    inputs = sequence.inputs(torch.tensor([[9]]), torch.tensor([[1, 2, 3, 4]]))
    assert inputs.tolist() == [[9, 1, 2, 3, 4]]
    assert sequence.positions == inputs.shape[1] == 5
    assert sequence.of_tokens(inputs[..., None])[..., 0].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("causal", [True, False])
def test_longer_conditions_fit_the_same_sequence(causal):
    sequence = TokenSequence(length=3, causal=causal, condition_length=2)
    inputs = sequence.inputs(torch.tensor([[8, 9]]), torch.tensor([[1, 2, 3]]))
    assert sequence.positions == inputs.shape[1]
    assert sequence.of_tokens(inputs[..., None])[..., 0].tolist() == ([[9, 1, 2]] if causal else [[1, 2, 3]])


def test_grid_must_hold_the_tokens():
    assert check_grid((2, 3, 4), 24) == (2, 3, 4)
    with pytest.raises(InputError, match="2x3x4 does not hold 25"):
        check_grid((2, 3, 4), 25)
