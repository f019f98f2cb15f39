"""Tested modules behind the workbook: a helper computes, a figure draws, a notebook speaks, a test proves.

The corridor (`runtime`, `coco`, `generated`, `training`, `evaluation`, `plotting`, `explorer`) serves every wing and
imports none of them; the wings (`detection`, `keypoints`, `digits`) do not import each other; the doors (`handout`,
`lessons`, `student`, `grading`, `report`) are the commands behind the Makefile and may enter any room.
"""
