"""A network of the second glance that was not trained."""

import json

import pytest
import torch

from secondglance.models.second_glance.network import N_CHANNELS, OUTPUTS
from secondglance.models.unet import UNet
from secondglance.models.weights import SECOND_GLANCE, load_weights, save_weights


@pytest.fixture(scope='package')
def network(tmp_path_factory):
    """Random tissues; the place is what the mask alone says."""
    torch.manual_seed(8)
    net = UNet((4, 6, 8, 8, 8), N_CHANNELS, len(OUTPUTS)).eval()
    with torch.no_grad():
        net.head.weight[3:] = 0
        net.head.bias[3:] = 0
        net.head.weight[:3] *= 20
    path = tmp_path_factory.mktemp('weights') / 'w.safetensors'
    extra = {'spacing': '0.2', 'classes': json.dumps(list(OUTPUTS))}
    save_weights(net, path, extra, SECOND_GLANCE)
    return load_weights(path, form=SECOND_GLANCE)
