"""One case a second and core is what the demo counts on."""

import time

import pytest

from data_modules.phantoms.cohort import PhantomCohort, write_cohort


@pytest.mark.bench
def test_one_core_writes_a_case_a_second(tmp_path):
    begin = time.process_time()
    write_cohort(tmp_path, PhantomCohort(hgg=4, lgg=4, seed=0), workers=1)
    rate = 8 / (time.process_time() - begin)
    print(f"{rate:.1f} phantoms per second of processor time")
    assert rate >= 1
