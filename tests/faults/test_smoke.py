async def test_it(rig):
    await rig.api()
    w = rig.worker()
    c = await rig.customer(await rig.organization())
    s = await rig.sandbox.submit_exam(customer=c)
    assert s.answers == (202,)
    await rig.ends_well()
    assert await w.stop() == 0
